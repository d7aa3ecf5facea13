"""One job field at a time: its type, its tidy form, its rule. Pure; no database.

`shape_*` brings a value as JSON, a spreadsheet or a form gives it into the form it is kept in, and
refuses a wrong type. `check_*` holds the rules. They are apart because an update checks only what
it changes: what is put back as it was needs a shape, but no check.
Refusals are sentences for a person that name the field, and never quote a secret.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from cronsched.core.http.guard import AddressPolicy, check_url
from cronsched.core.text import clean_name, is_readable_line, is_storable
from jobs import schedule
from jobs.choices import CatchUp
from jobs.engine.transports.base import encode_json
from jobs.engine.transports.github import input_text
from jobs.engine.transports.webhook import decode_secret

NAME_MAX: Final = 255
URL_MAX: Final = 500
GITHUB_MAX: Final = 255
EMAIL_MAX: Final = 254  # RFC 5321 gives a path 256 characters, the two brackets among them
TOKEN_MAX: Final = 500
SECRET_MAX: Final = 500
TIMEOUT_MAX_S: Final = 3600
RETRIES_MAX: Final = 10
ALERT_AFTER_MAX: Final = 1000
# What GitHub keeps a run for: 35 days, waiting for approval included.
FOLLOW_MAX_MINUTES: Final = 35 * 24 * 60
# docs.github.com, events that trigger workflows: `workflow_dispatch`.
INPUTS_MAX: Final = 25
INPUTS_MAX_CHARS: Final = 65_535
INPUT_NAME_MAX: Final = 100
# Far beyond real metadata, and below where Python's encoders run out of stack.
METADATA_DEPTH_MAX: Final = 64

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_GITHUB_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_INPUT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BLANKS: Final = re.compile(r"[ \t]+")
_NOT_STORABLE: Final = "{field} holds a character that cannot be stored, such as NUL."


class Refused(ValueError):
    """A value that breaks a rule; the text is for the person who gave it."""


Shape = Callable[[str, Any], Any]
Check = Callable[[str, Any], None]


# ---- shapes -----------------------------------------------------------------------------------


def shape_text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(f"{field} is required." if value is None else f"{field} must be text.")
    if not is_storable(value):
        raise Refused(_NOT_STORABLE.format(field=field))
    return value.strip()


def shape_name(field: str, value: Any) -> str:
    return clean_name(shape_text(field, value))


def shape_optional_text(field: str, value: Any) -> str:
    """null clears: the column then holds ""."""
    return "" if value is None else shape_text(field, value)


def shape_cron(field: str, value: Any) -> str:
    return _BLANKS.sub(" ", shape_text(field, value))


def shape_date(field: str, value: Any) -> date:
    if isinstance(value, date):
        return value
    text = shape_text(field, value)
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(f"{field} must be a date, written YYYY-MM-DD.") from None


def shape_flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{field} must be true or false.")
    return value


def shape_minutes(field: str, value: Any) -> int | None:
    whole = _whole(value)
    if value is not None and whole is None:
        raise Refused(f"{field} must be a whole number of minutes, or null.")
    return whole


def shape_seconds(field: str, value: Any) -> int | None:
    whole = _whole(value)
    if value is not None and whole is None:
        raise Refused(f"{field} must be a whole number of seconds, or null.")
    return whole


def shape_count(field: str, value: Any) -> int:
    whole = _whole(value)
    if whole is None:
        raise Refused(f"{field} must be a whole number.")
    return whole


def _whole(value: Any) -> int | None:
    # JSON has one kind of number, so that 30.0 is 30; bool is an int to Python alone.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shape_object(field: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(f"{field} must be a JSON object.")
    for leaf, depth in _leaves(value):
        if depth > METADATA_DEPTH_MAX:
            raise Refused(f"{field} is nested more than {METADATA_DEPTH_MAX} levels deep.")
        if isinstance(leaf, str) and not is_storable(leaf):
            raise Refused(_NOT_STORABLE.format(field=field))
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise Refused(f"{field} holds a number that JSON cannot carry.")
    return dict(value)


def shape_emails(field: str, value: Any) -> list[str]:
    """A list, or one text with commas; tidied, without blanks and repeats, in the order given."""
    items = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Refused(f"{field} must be a list of e-mail addresses.")
    found: dict[str, str] = {}
    for item in items:
        if address := clean_name(shape_text(field, item)):
            found.setdefault(address.casefold(), address)
    return list(found.values())


def shape_owner(field: str, value: Any) -> UUID | None:
    """A user's id (as text or UUID) or null; a user object too, as a form gives it."""
    value = getattr(value, "pk", value)
    if value is None or isinstance(value, UUID):
        return value
    try:
        return UUID(shape_text(field, value))
    except Refused:
        raise
    except ValueError:
        raise Refused(f"{field} must be the id of a user, or null.") from None


def is_same(stored: Any, value: Any) -> bool:
    """Whether two values are one to JSON: true is not 1 there, and the order of keys says nothing."""
    if isinstance(stored, dict | list) or isinstance(value, dict | list):
        return json.dumps(stored, sort_keys=True) == json.dumps(value, sort_keys=True)
    return bool(stored == value)


# ---- rules ------------------------------------------------------------------------------------


def check_nothing(field: str, value: Any) -> None:
    """Every value of the right shape will do."""


def check_name(field: str, value: str) -> None:
    if not 1 <= len(value) <= NAME_MAX:
        raise Refused(f"{field} must have 1 to {NAME_MAX} characters.")
    if not is_readable_line(value):
        raise Refused(f"{field} must be one line, without control characters.")


def check_cron(field: str, value: str) -> None:
    try:
        schedule.parse(value)
    except schedule.CronError as error:
        raise Refused(str(error)) from None


def check_zone(field: str, value: str) -> None:
    try:
        if value:
            schedule.load_zone(value)
    except schedule.ZoneError as error:
        raise Refused(str(error)) from None


def check_url_target(field: str, value: str) -> None:
    """What can be said without a look-up; each resolved address is judged when it is called."""
    if len(value) > URL_MAX:
        raise Refused(f"{field} must have at most {URL_MAX} characters.")
    if value and (fault := check_url(value, address_policy(), allow_http=settings.WEBHOOK_ALLOW_HTTP)):
        raise Refused(f"{field}: {fault}")


def address_policy() -> AddressPolicy:
    """Which addresses an outgoing call may reach, as the operator decided."""
    return AddressPolicy(
        allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
        allowed_networks=tuple(settings.WEBHOOK_ALLOWED_NETWORKS),
    )


def check_github_name(field: str, value: str) -> None:
    if not value:
        return
    if len(value) > GITHUB_MAX:
        raise Refused(f"{field} must have at most {GITHUB_MAX} characters.")
    # The dots would climb in the path of GitHub's API.
    if not _GITHUB_NAME.fullmatch(value) or value in (".", ".."):
        raise Refused(f'{field} may hold letters, digits, ".", "_" and "-" only, and not be "." or "..".')


def check_workflow(field: str, value: str) -> None:
    if not value:
        return
    if len(value) > GITHUB_MAX:
        raise Refused(f"{field} must have at most {GITHUB_MAX} characters.")
    if not value.endswith((".yml", ".yaml")):
        raise Refused(f"{field} must be the name of a workflow file that ends in .yml or .yaml.")
    if "/" in value or "\\" in value or _CONTROL.search(value):
        raise Refused(f"{field} must be the file's name alone, without its folder (nightly.yml).")


def check_seconds(field: str, value: int | None) -> None:
    if value is not None and not 1 <= value <= TIMEOUT_MAX_S:
        raise Refused(f"{field} must be from 1 to {TIMEOUT_MAX_S} seconds.")


def check_retries(field: str, value: int) -> None:
    if not 0 <= value <= RETRIES_MAX:
        raise Refused(f"{field} must be from 0 to {RETRIES_MAX}.")


def check_follow_minutes(field: str, value: int | None) -> None:
    if value is not None and not 1 <= value <= FOLLOW_MAX_MINUTES:
        raise Refused(f"{field} must be from 1 to {FOLLOW_MAX_MINUTES} minutes.")


def check_input_name(field: str, value: str) -> None:
    if value and not (len(value) <= INPUT_NAME_MAX and _INPUT_NAME.fullmatch(value)):
        raise Refused(
            f'{field} must be the name of an input: a letter or "_", then letters, digits, "_" and "-", '
            f"{INPUT_NAME_MAX} at most."
        )


def inputs_fault(inputs: Mapping[str, Any]) -> str:
    """What GitHub would refuse about the inputs of a dispatch; "" where it takes their number and size."""
    if len(inputs) > INPUTS_MAX:
        return f"GitHub takes at most {INPUTS_MAX} inputs for a workflow; these are {len(inputs)}."
    size = len(encode_json({name: input_text(value) for name, value in inputs.items()}).decode())
    if size > INPUTS_MAX_CHARS:
        return f"GitHub takes at most {INPUTS_MAX_CHARS:,} characters of inputs; these have {size:,}."
    return ""


def check_alert_after(field: str, value: int) -> None:
    if not 1 <= value <= ALERT_AFTER_MAX:
        raise Refused(f"{field} must be from 1 to {ALERT_AFTER_MAX}.")


def check_catch_up(field: str, value: str) -> None:
    if value not in CatchUp.values:
        raise Refused(f"{field} must be one of: {', '.join(CatchUp.values)}.")


def check_emails(field: str, value: list[str]) -> None:
    bad = [address for address in value if not _is_email(address)]
    if bad:
        raise Refused(f"{field} holds what is no e-mail address: {', '.join(item[:80] for item in bad[:3])}.")


def check_token(field: str, value: str) -> None:
    if value and (len(value) > TOKEN_MAX or not _VISIBLE.fullmatch(value)):
        raise Refused(f"{field} must be a token of at most {TOKEN_MAX} characters, without spaces.")


def check_signing_secret(field: str, value: str) -> None:
    """What the transport can sign with; refused here, so that no run fails for it."""
    if not value:
        return
    if len(value) > SECRET_MAX or not _VISIBLE.fullmatch(value):
        raise Refused(f"{field} must have at most {SECRET_MAX} visible characters, without spaces.")
    try:
        decode_secret(value)
    except ValueError:
        raise Refused(
            f"{field} must be base64 after whsec_, or any other text without that prefix."
        ) from None


def check_ref(field: str, value: str) -> None:
    if len(value) > GITHUB_MAX or _CONTROL.search(value):
        raise Refused(f"{field} must be a branch or tag of at most {GITHUB_MAX} characters.")


def split_repository(value: str) -> tuple[str, str]:
    """("", "app") of `app`, ("acme", "app") of `acme/app`."""
    owner, slash, repo = value.partition("/")
    return (owner.strip(), repo.strip()) if slash else ("", value)


def _is_email(address: str) -> bool:
    try:
        validate_email(address)
    except ValidationError:
        return False
    return len(address) <= EMAIL_MAX


def _leaves(value: Any) -> Iterator[tuple[Any, int]]:
    """Every key and value with its depth. A stack, not recursion: what people send may be deep."""
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        yield item, depth
        if depth > METADATA_DEPTH_MAX:
            return
        if isinstance(item, Mapping):
            stack.extend((key, depth + 1) for key in item)
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list | tuple):
            stack.extend((inner, depth + 1) for inner in item)
