"""Where Slack is: the one row, its URL encrypted on the way in."""

from __future__ import annotations

from typing import Any, Final

from cronsched.core import crypto
from cronsched.core.http.guard import check_url
from cronsched.legacy.context import Import, times
from cronsched.legacy.source import Row
from cronsched.legacy.values import flag, text, uuid_of
from jobs.services.fields import address_policy
from notifications.models import SlackSettings
from notifications.services.slack_settings import CHANNEL_MAX, URL_MAX

TABLE: Final = "slack_settings"


def bring_slack(run: Import) -> None:
    """The row that was changed last; settings that were made here stay, unless --update finds older ones."""
    rows = sorted(run.rows(TABLE), key=lambda row: times(row, run.options.now)[1])
    if not rows:
        return
    for row in rows[:-1]:
        run.left_out(TABLE, row, "there is one row of Slack settings; a later one was taken")
    row, stored = rows[-1], SlackSettings.objects.first()
    if stored is not None and not _is_to_replace(run, row, stored):
        run.report.count(TABLE, "already")
        return
    values = _values(run, row)
    if not run.options.dry_run:
        _store(run, row, values)
    run.report.count(TABLE, "new" if stored is None else "updated")


def _is_to_replace(run: Import, row: Row, stored: SlackSettings) -> bool:
    is_untouched = not (stored.is_enabled or stored.webhook_url or stored.channel)
    return is_untouched or (run.options.update and run.is_newer(row, stored.updated_at))


def _values(run: Import, row: Row) -> dict[str, Any]:
    url = text(row.get("webhook_url")).strip()
    is_enabled = flag(row.get("is_enabled"), False)
    fault = check_url(url, address_policy(), allow_http=False) if url else None
    if url and (fault or len(url) > URL_MAX):
        run.adjusted(TABLE, row, "without its URL, which cannot be called", str(fault or "it is too long"))
        url = ""
    if is_enabled and not url:
        run.adjusted(TABLE, row, "switched off: there is no URL")
        is_enabled = False
    return {
        "is_enabled": is_enabled,
        "webhook_url": crypto.encrypt(url) if url else "",
        "channel": text(row.get("channel")).strip()[:CHANNEL_MAX],
    }


def _store(run: Import, row: Row, values: dict[str, Any]) -> None:
    created, updated = times(row, run.options.now)
    SlackSettings.objects.update_or_create(
        only=1, defaults=values, create_defaults={**values, "id": uuid_of(row["id"])}
    )
    # Past the columns that fill themselves in.
    SlackSettings.objects.filter(only=1).update(created_at=created, updated_at=updated)
