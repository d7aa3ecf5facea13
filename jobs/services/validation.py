"""The one place that validates a job's input, for API, CSV, admin site and commands alike.

An update validates what it changes: a field is checked only where its tidied value differs from the
stored one, so that a job put back whole passes although its end date has gone by or its team was
disabled since. All faults are told at once, each under its field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from accounts.models import User
from accounts.roles import is_within_team, team_limit
from cronsched.core.clock import scheduler_date
from cronsched.core.errors import InvalidInput
from cronsched.core.text import name_key
from jobs.choices import CatchUp
from jobs.engine.transports.github import merge_inputs
from jobs.models import Job
from jobs.models.job import TARGET_FIELDS
from jobs.services import fields
from jobs.services.fields import Refused
from jobs.services.signing import changed_secret
from taxonomy.models import GENERAL, JobCategory, PicTeam
from taxonomy.services import resolve_category, resolve_team

DUPLICATE_NAME: Final = "Duplicate job name"
_REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """`default` is what a new job gets where the field is absent; without one it must be given."""

    shape: fields.Shape
    check: fields.Check = fields.check_nothing
    default: Any = _REQUIRED


RULES: Final[Mapping[str, Rule]] = {
    "name": Rule(fields.shape_name, fields.check_name),
    "cron_expression": Rule(fields.shape_cron, fields.check_cron),
    "timezone": Rule(fields.shape_optional_text, fields.check_zone, ""),
    "catch_up": Rule(fields.shape_text, fields.check_catch_up, CatchUp.SKIP.value),
    "end_date": Rule(fields.shape_date),
    "is_active": Rule(fields.shape_flag, default=True),
    "target_url": Rule(fields.shape_optional_text, fields.check_url_target, ""),
    "github_owner": Rule(fields.shape_optional_text, fields.check_github_name, ""),
    "github_repo": Rule(fields.shape_optional_text, fields.check_github_name, ""),
    "github_workflow_name": Rule(fields.shape_optional_text, fields.check_workflow, ""),
    "metadata": Rule(fields.shape_object, default={}),
    "timeout_seconds": Rule(fields.shape_seconds, fields.check_seconds, None),
    "max_retries": Rule(fields.shape_count, fields.check_retries, 0),
    "follow_run": Rule(fields.shape_flag, default=True),
    "follow_timeout_minutes": Rule(fields.shape_minutes, fields.check_follow_minutes, None),
    "github_correlation_input": Rule(fields.shape_optional_text, fields.check_input_name, ""),
    "enable_email_notifications": Rule(fields.shape_flag, default=False),
    "notification_emails": Rule(fields.shape_emails, fields.check_emails, []),
    "notify_on_success": Rule(fields.shape_flag, default=False),
    "alert_after": Rule(fields.shape_count, fields.check_alert_after, 1),
}
# Compared and stored encrypted (jobs.services.signing), so that it is no rule as the others are.
SIGNING_RULE: Final = Rule(fields.shape_optional_text, fields.check_signing_secret, "")
_CALL_RULES: Final[Mapping[str, Rule]] = {
    **{field: RULES[field] for field in ("timeout_seconds", "github_correlation_input")},
    "signing_secret": SIGNING_RULE,
}
GITHUB_FIELDS: Final = TARGET_FIELDS[1:]
# A change of any of these is a change of what a dispatch carries.
_INPUT_FIELDS: Final = frozenset({*TARGET_FIELDS, "metadata", "github_correlation_input"})
# What one run may have of its own: the same rules, and what a job does not store.
RUN_RULES: Final[Mapping[str, Rule]] = {
    **{field: RULES[field] for field in (*TARGET_FIELDS, "metadata")},
    "inputs": Rule(fields.shape_object),
    "github_token": Rule(fields.shape_optional_text, fields.check_token),
    "ref": Rule(fields.shape_optional_text, fields.check_ref),
}


class Lookups:
    """What validation asks of the database. An upload brings its own, which has read all of it before."""

    def category(self, text: str) -> JobCategory:
        return resolve_category(text)

    def team(self, text: str) -> PicTeam:
        return resolve_team(text)

    def is_active_user(self, user_id: UUID) -> bool:
        return User.objects.filter(pk=user_id, is_active=True).exists()

    def is_name_taken(self, key: str, *, except_for: UUID | None) -> bool:
        return Job.objects.filter(name_key=key).exclude(pk=except_for).exists()


class Faults:
    """Messages by field; `refuse` raises them all as one InvalidInput."""

    def __init__(self) -> None:
        self.by_field: dict[str, list[str]] = {}
        self.error: str | None = None

    def add(self, field: str, message: str, *, error: str | None = None) -> None:
        self.by_field.setdefault(field, []).append(message)
        self.error = error if len(self.by_field) == 1 else None

    def refuse(self) -> None:
        if self.by_field:
            message = " ".join(text for texts in self.by_field.values() for text in texts)
            raise InvalidInput(message, error=self.error, details=self.by_field)


def clean_job(
    data: Mapping[str, Any], *, instance: Job | None, now: datetime, lookups: Lookups | None = None
) -> dict[str, Any]:
    """The values to store, by the model's attribute: all of a new job's, only the changed ones of `instance`.

    Unknown keys are ignored. `created_by` is taken from whoever sends it: the caller drops it where
    it has no say. Raises InvalidInput with `details` per field.
    """
    return _Cleaning(data, instance=instance, now=now, lookups=lookups or Lookups()).run()


def clean_run(data: Mapping[str, Any], *, stored: Mapping[str, str]) -> dict[str, Any]:
    """What `data` gives one run of its own, over the `stored` target fields of its job ({} without one).

    Where only a URL is given, that is what is to be called: the job's GitHub target is put aside.
    Raises InvalidInput with `details` per field.
    """
    faults = Faults()
    clean = _tidied(split_repository(data, faults), RUN_RULES, faults)
    if clean.get("target_url") and not any(clean.get(field) for field in GITHUB_FIELDS):
        clean |= dict.fromkeys(GITHUB_FIELDS, "")
    faults.refuse()
    _judge_target({**stored, **clean}, faults)
    faults.refuse()
    return clean


def clean_call(data: Mapping[str, Any], *, instance: Job | None, now: datetime) -> dict[str, Any]:
    """What `data` says of how a job is called, to set on it: its timeout, its secret, its workflow's input.

    Raises InvalidInput with `details` per field.
    """
    faults = Faults()
    clean = _tidied(data, _CALL_RULES, faults)
    faults.refuse()
    secret = clean.pop("signing_secret", None)
    return clean if secret is None else clean | changed_secret(instance, secret, now=now)


def duplicate_name(name: str) -> InvalidInput:
    """What a job with a taken name is refused with, found before the insert or by it."""
    return InvalidInput(_duplicate_message(name), error=DUPLICATE_NAME, field="name")


def refuse_other_team(clean: Mapping[str, Any], by: Any) -> None:
    """Whoever is limited to a team (an API key) gives jobs to no other."""
    team = clean.get("pic_team")
    if team is not None and not is_within_team(by, team.slug):
        raise InvalidInput(f"This API key is limited to the team {team_limit(by)}.", field="pic_team")


def split_repository(data: Mapping[str, Any], faults: Faults) -> Mapping[str, Any]:
    """The data with `owner/repo` in `github_repo` taken apart."""
    given = data.get("github_repo")
    if not isinstance(given, str) or "/" not in given:
        return data
    owner, repo = fields.split_repository(given.strip())
    other = data.get("github_owner")
    if other is not None and not isinstance(other, str):
        # Left where it is: its own rule has the words for it.
        return {**data, "github_repo": repo}
    if other and other.strip() and other.strip().lower() != owner.lower():
        faults.add("github_repo", "github_repo names another owner than github_owner; give the owner once.")
    return {**data, "github_owner": owner, "github_repo": repo}


class _Cleaning:
    """One pass over one job's input."""

    def __init__(
        self, data: Mapping[str, Any], *, instance: Job | None, now: datetime, lookups: Lookups
    ) -> None:
        self.faults = Faults()
        self.data = split_repository(data, self.faults)
        self.instance = instance
        self.now = now
        self.today = scheduler_date(now)
        self.lookups = lookups
        self.clean: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        for field, rule in RULES.items():
            self._field(field, rule)
        self._taxon("category", default=GENERAL)
        self._taxon("pic_team")
        self._owner()
        self._signing_secret()
        self._unique_name()
        self._end()
        self._target()
        self._inputs()
        self.faults.refuse()
        return self.clean

    def _field(self, field: str, rule: Rule) -> None:
        if field not in self.data:
            if self.instance is None:
                self._absent(field, rule.default)
            return
        given = self.data[field]
        try:
            if isinstance(given, Refused):
                # A cell that could not even be read: its fault is told among the others.
                raise given
            if self._is_kept_null(field, given):
                return
            value = rule.shape(field, given)
            if self.instance is not None and fields.is_same(getattr(self.instance, field), value):
                return
            rule.check(field, value)
        except Refused as refusal:
            self.faults.add(field, str(refusal))
        else:
            self.clean[field] = value

    def _absent(self, field: str, default: Any) -> None:
        if default is _REQUIRED:
            self.faults.add(field, f"{field} is required.")
        else:
            # A new one for each job: a shared dict would be everyone's metadata.
            self.clean[field] = default.copy() if isinstance(default, dict | list) else default

    def _is_kept_null(self, field: str, given: Any) -> bool:
        """A null put back where the earlier system left one, although the field is required by now."""
        return given is None and self.instance is not None and getattr(self.instance, field) is None

    def _taxon(self, field: str, *, default: str | None = None) -> None:
        given = self.data.get(field)
        if (field not in self.data and self.instance is not None) or self._is_kept_null(field, given):
            return
        try:
            text = default if field not in self.data else self._taxon_text(field, given)
            # A blank is what an empty cell or an untouched form sends.
            if not (text := text or default):
                raise Refused(f"{field} is required.")
            stored = getattr(self.instance, field) if self.instance is not None else None
            if stored is None or name_key(text) not in (stored.slug, stored.name_key):
                find = self.lookups.category if field == "category" else self.lookups.team
                self.clean[field] = find(text)
        except (Refused, InvalidInput) as refusal:
            self.faults.add(field, str(refusal))

    def _taxon_text(self, field: str, given: Any) -> str:
        """A slug or a name; a form gives the row itself."""
        return given.slug if isinstance(given, JobCategory | PicTeam) else fields.shape_text(field, given)

    def _owner(self) -> None:
        if "created_by" not in self.data:
            return
        try:
            owner_id = fields.shape_owner("created_by", self.data["created_by"])
        except Refused as refusal:
            self.faults.add("created_by", str(refusal))
            return
        if self.instance is not None and owner_id == self.instance.created_by_id:
            return
        if owner_id is not None and not self.lookups.is_active_user(owner_id):
            self.faults.add("created_by", "created_by must be the id of an active user, or null.")
            return
        self.clean["created_by_id"] = owner_id

    def _signing_secret(self) -> None:
        if "signing_secret" not in self.data:
            return
        try:
            secret = _tidy("signing_secret", SIGNING_RULE, self.data["signing_secret"])
        except Refused as refusal:
            self.faults.add("signing_secret", str(refusal))
            return
        self.clean |= changed_secret(self.instance, secret, now=self.now)

    def _unique_name(self) -> None:
        if "name" not in self.clean:
            return
        name, own = self.clean["name"], self.instance.pk if self.instance is not None else None
        if self.lookups.is_name_taken(name_key(name), except_for=own):
            self.faults.add("name", _duplicate_message(name), error=DUPLICATE_NAME)

    def _end(self) -> None:
        """A new end date is not in the past; a job that has ended is not enabled without one."""
        end = self.clean.get("end_date")
        if end is not None:
            if end < self.today:
                self.faults.add("end_date", f"end_date must be {self.today} or later ({_zone()}).")
            return
        ended = self.instance.end_date if self.instance is not None else None
        is_enabling = self.clean.get("is_active") is True and "end_date" not in self.faults.by_field
        if is_enabling and ended is not None and ended < self.today:
            message = f"This job ended on {ended}: give it a later end_date to enable it."
            self.faults.add("is_active", message)

    def _target(self) -> None:
        changed = [field for field in TARGET_FIELDS if field in self.clean]
        if not changed or any(field in self.faults.by_field for field in TARGET_FIELDS):
            return
        values = {**(target_of(self.instance) if self.instance is not None else {}), **self.clean}
        _judge_target(values, self.faults)
        if _is_github(values) and not values["github_owner"] and settings.GITHUB_DEFAULT_OWNER:
            # Kept on the job: it must not move elsewhere when the default does.
            self.clean["github_owner"] = settings.GITHUB_DEFAULT_OWNER

    def _inputs(self) -> None:
        """What a dispatch may carry, said when the job is saved and not at night."""
        if not _INPUT_FIELDS & self.clean.keys() or _INPUT_FIELDS & self.faults.by_field.keys():
            return
        values = {name: self.clean.get(name, getattr(self.instance, name, "")) for name in _INPUT_FIELDS}
        if _is_github(values):
            inputs = merge_inputs(values["metadata"] or {}, None)
            if fault := fields.inputs_fault(_with_id(inputs, values["github_correlation_input"])):
                self.faults.add("metadata", fault)


def refuse_inputs(job: Job, own: Mapping[str, Any]) -> None:
    """Refuse a run of `job` whose inputs, with `own` of this run, GitHub would refuse. InvalidInput."""
    if not _is_github({**target_of(job), **own}):
        return
    inputs = merge_inputs(own.get("metadata", job.metadata) or {}, own.get("inputs"))
    if fault := fields.inputs_fault(_with_id(inputs, job.id_input_of(job.with_target(own).target))):
        raise InvalidInput(fault, field="inputs" if "inputs" in own else "metadata")


def _with_id(inputs: Mapping[str, Any], id_input: str) -> dict[str, Any]:
    """As they are dispatched: an id counts as much as any other input."""
    return {**inputs, id_input: str(UUID(int=0))} if id_input else dict(inputs)


def target_of(job: Job) -> dict[str, str]:
    """The stored target fields of a job."""
    return {field: getattr(job, field) for field in TARGET_FIELDS}


def _tidied(data: Mapping[str, Any], rules: Mapping[str, Rule], faults: Faults) -> dict[str, Any]:
    """Those fields of the rules that `data` has; what breaks its rule goes to the faults instead."""
    clean = {}
    for field, rule in rules.items():
        if field not in data:
            continue
        try:
            clean[field] = _tidy(field, rule, data[field])
        except Refused as refusal:
            faults.add(field, str(refusal))
    return clean


def _tidy(field: str, rule: Rule, given: Any) -> Any:
    value = rule.shape(field, given)
    rule.check(field, value)
    return value


def _judge_target(values: Mapping[str, Any], faults: Faults) -> None:
    """A URL, or a repository with a workflow and an owner; GitHub is called where both are given."""
    if _is_github(values):
        if not (values.get("github_owner") or settings.GITHUB_DEFAULT_OWNER):
            faults.add("github_owner", "github_owner is required: no GITHUB_DEFAULT_OWNER is set.")
    elif values.get("target_url"):
        return
    elif values.get("github_repo"):
        faults.add("github_workflow_name", "github_workflow_name is required with github_repo.")
    elif values.get("github_workflow_name"):
        faults.add("github_repo", "github_repo is required with github_workflow_name.")
    else:
        message = "A target is required: target_url, or github_repo with github_workflow_name."
        faults.add("target_url", message)


def _is_github(values: Mapping[str, Any]) -> bool:
    return bool(values.get("github_repo") and values.get("github_workflow_name"))


def _duplicate_message(name: str) -> str:
    return f'A job named "{name}" already exists.'


def _zone() -> str:
    return str(settings.SCHEDULER_TIMEZONE)
