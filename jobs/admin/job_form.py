"""The form of a job: what is typed, in plain words; the services judge it.

A target is a webhook or a workflow; `conditional_fields` of the page shows the fields of the one that is
chosen. Without scripts all of them are there, and the choice counts all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db.models import Q
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from cronsched.core.admin import LinesField, ServiceForm
from jobs.choices import ExecutionType
from jobs.models import Job

GITHUB_TARGET = ("github_owner", "github_repo", "github_workflow_name")
# What the parser of JSON says (json.decoder), to be found in the catalogue.
JSON_FAULTS = (
    gettext_noop("Expecting value"),
    gettext_noop("Expecting property name enclosed in double quotes"),
    gettext_noop("Expecting ',' delimiter"),
    gettext_noop("Expecting ':' delimiter"),
    gettext_noop("Extra data"),
    gettext_noop("Illegal trailing comma before end of array"),
    gettext_noop("Illegal trailing comma before end of object"),
    gettext_noop("Invalid control character at"),
    gettext_noop("Invalid \\escape"),
    gettext_noop("Invalid \\uXXXX escape"),
    gettext_noop("Unterminated string starting at"),
)
TARGET_PARTS = {"target_kind", "target_url", *GITHUB_TARGET}


class DateWidget(UnfoldAdminTextInputWidget):  # type: ignore[misc]
    """The browser's own calendar: it knows the keyboard, the phone and the language."""

    input_type = "date"

    def format_value(self, value: Any) -> Any:
        return value.isoformat() if hasattr(value, "isoformat") else value


class JsonWidget(UnfoldAdminTextareaWidget):  # type: ignore[misc]
    """Unfold's template loses an empty first line: HTML drops the line end after the tag."""

    template_name = "django/forms/widgets/textarea.html"


class JobForm(ServiceForm):
    aliases = {"signing_secret": "new_signing_secret"}
    never_shown = frozenset({"new_signing_secret", "drop_signing_secret"})

    target_kind = forms.ChoiceField(
        label=_("Calls"),
        required=False,
        choices=[
            (ExecutionType.WEBHOOK.value, _("a webhook")),
            (ExecutionType.GITHUB_ACTIONS.value, _("a GitHub Actions workflow")),
        ],
        widget=UnfoldAdminRadioSelectWidget(radio_style=1),
    )
    metadata = LinesField(
        label=_("Metadata"),
        required=False,
        widget=JsonWidget(attrs={"rows": 8, "spellcheck": "false", "class": "cs-mono"}),
        help_text=_("A JSON object: the body of the webhook, or the inputs of the workflow."),
    )
    notification_emails = LinesField(
        label=_("E-mail to"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=_("Addresses, separated by commas or lines."),
    )

    new_signing_secret = forms.CharField(
        label=_("New signing secret"),
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "Signs the calls (Standard Webhooks). Empty: as it is. After a change both sign for a day."
        ),
    )
    drop_signing_secret = forms.BooleanField(
        label=_("Take the signing secret away"),
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
    )

    class Meta:
        model = Job
        fields: ClassVar[list[str]] = [
            "name",
            "category",
            "pic_team",
            "created_by",
            "is_active",
            "cron_expression",
            "timezone",
            "catch_up",
            "end_date",
            "target_url",
            "github_owner",
            "github_repo",
            "github_workflow_name",
            "timeout_seconds",
            "max_retries",
            "follow_run",
            "follow_timeout_minutes",
            "github_correlation_input",
            "enable_email_notifications",
            "notify_on_success",
            "alert_after",
        ]
        help_texts: ClassVar[dict[str, Any]] = {
            "cron_expression": _(
                "Minute, hour, day of month, month, day of week: 0 9 * * 1-5 is 09:00 on weekdays."
            ),
            "timezone": format_lazy(
                _("An IANA name such as Europe/Berlin; empty: {zone}."), zone=settings.SCHEDULER_TIMEZONE
            ),
            "end_date": _("The last day on which it runs."),
            "github_repo": _("Its name, or owner/name."),
            "github_workflow_name": _("The file's name, such as nightly.yml."),
            "catch_up": _("Of the slots that came due while nobody could fire them."),
            "max_retries": _(
                "After the first attempt; a run keeps its id, so that a receiver can drop repeats."
            ),
            "follow_run": _("The execution ends as the workflow's run does, not with its dispatch."),
            "follow_timeout_minutes": _(
                "Minutes until a run that does not end is given up; empty: six hours."
            ),
            "github_correlation_input": _(
                "An input that the workflow shows in its run-name: it is given the execution's id, so that a "
                "run is found where GitHub does not tell which one it started."
            ),
            "alert_after": _(
                "Mail and Slack hear of the n-th failure in a row, then once a day, then of the recovery."
            ),
            "timeout_seconds": format_lazy(
                _("For one attempt; empty: {seconds}."), seconds=f"{settings.WEBHOOK_TIMEOUT_SECONDS:g}"
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["metadata"] = pretty(self.instance.metadata)
        self.initial["target_kind"] = self.instance.execution_type.value
        self.initial["notification_emails"] = ", ".join(self.instance.notification_emails)
        for name in ("category", "pic_team", "created_by"):
            if field := self.fields.get(name):
                present = getattr(self.instance, f"{name}_id")
                field.queryset = field.queryset.filter(Q(is_active=True) | Q(pk=present))  # type: ignore[attr-defined]

    def typed(self) -> dict[str, Any]:
        """A secret is never shown, so that an empty field says nothing: taking it away is said beside it."""
        typed = super().typed()
        if self.instance._state.adding or TARGET_PARTS & set(self.changed_data):
            typed |= put_aside(self.cleaned_data.get("target_kind"), self.cleaned_data)
        typed.pop("target_kind", None)
        is_dropped = typed.pop("drop_signing_secret", False)
        return {**typed, "signing_secret": None} if is_dropped else typed

    def field_of(self, key: str) -> str:
        """That there is no target belongs to the fields that are shown."""
        is_github = self.cleaned_data.get("target_kind") == ExecutionType.GITHUB_ACTIONS
        return "github_repo" if key == "target_url" and is_github else super().field_of(key)

    def in_form_words(self, key: str, text: str) -> str:
        """With the line at fault, where metadata is no JSON."""
        words = super().in_form_words(key, text)
        fault = self._metadata_fault() if key == "metadata" else None
        return f"{words} {fault.words}" if fault else words

    def _post_clean(self) -> None:
        """The place at fault goes to the script, which selects it."""
        super()._post_clean()
        fault = self._metadata_fault() if "metadata" in self.errors else None
        if fault and fault.at is not None:
            self.fields["metadata"].widget.attrs["data-fault-at"] = fault.at

    def _metadata_fault(self) -> JsonFault | None:
        """By the text as it was typed, with what blanks there are before it."""
        typed = self.data.get("metadata") or self.cleaned_data.get("metadata") or ""
        return json_fault(with_plain_lines(typed))

    def as_input(self, name: str, value: Any) -> Any:
        if name in {"category", "pic_team"}:
            return getattr(value, "slug", value)
        if name == "metadata":
            return parsed(value)
        if name == "notification_emails":
            return ",".join(value.splitlines())
        return super().as_input(name, value)


def put_aside(chosen: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is emptied of the target that was not chosen, so that what is chosen is what will be called.

    GitHub wins over a URL, so that beside a webhook nothing of it may be left, whether or not there is a
    URL. Beside a whole workflow the URL may stay; it must not be called where the workflow lacks a part.
    """
    if chosen == ExecutionType.WEBHOOK:
        return dict.fromkeys(GITHUB_TARGET, "")
    is_whole = given.get("github_repo") and given.get("github_workflow_name")
    return {"target_url": ""} if chosen == ExecutionType.GITHUB_ACTIONS and not is_whole else {}


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def parsed(text: str) -> Any:
    """The JSON value; None for an empty text; what is no JSON stays text, for the service to refuse."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonFault:
    """What is wrong, with line and column. `at` counts as browsers do: UTF-16; None without a place."""

    words: str
    at: int | None = None


def json_fault(text: str) -> JsonFault | None:
    """Where the text is no JSON: "Line 2, column 5: Expecting value." None where it is, or is empty."""
    try:
        json.loads(text if text.strip() else "null")
    except json.JSONDecodeError as error:
        place = {"line": error.lineno, "column": error.colno, "what": gettext(error.msg)}
        words = gettext("Line %(line)d, column %(column)d: %(what)s.") % place
        return JsonFault(words=words, at=len(text[: error.pos].encode("utf-16-le", "surrogatepass")) // 2)
    except (ValueError, RecursionError):
        return JsonFault(words=gettext("It is nested too deep, or a number in it is too long."))
    return None


def with_plain_lines(text: str) -> str:
    """As the field counts its lines, and not as a browser sends them."""
    return text.replace("\r\n", "\n")
