"""A job put back to an earlier version: what the history says it was, through the usual update.

Nothing is put back behind the rules: an end date that has gone by or a name that is taken meanwhile
is refused as it would be in the form, and whoever restores may leave that field out. What the history
does not hold (a secret, somebody who was deleted) stays as it is, and is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from accounts.audit import changes_of, state_after
from accounts.choices import AuditAction, AuditKind
from accounts.models import AuditEntry, User
from accounts.roles import is_admin
from cronsched.core.db import retry_conflicts
from cronsched.core.errors import InvalidInput, NotFound
from cronsched.core.masking import filled_in, has_marks, masked_pair
from cronsched.core.text import name_key
from jobs.audit import kept_values
from jobs.models import Job
from jobs.services.lifecycle import lock_job, update_job
from taxonomy.models import JobCategory, PicTeam


class LeftOut(Exception):
    """A value of then that cannot be put back; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A job as `entry` left it. `differences` are field -> (now, then), as the history shows values;
    `data` is what the update is given; `left_out` says field by field what cannot be put back."""

    entry: AuditEntry
    differences: Mapping[str, tuple[Any, Any]]
    data: Mapping[str, Any]
    left_out: Mapping[str, str]


def version_of(job: Job, entry: AuditEntry, *, by: User) -> Version:
    """What restoring `entry` would change. NotFound where the entry is another's, or of no version."""
    if entry.kind != AuditKind.JOB or entry.object_id != str(job.pk) or entry.action == AuditAction.DELETED:
        raise NotFound("This change is not one of this job.", error="Not found")
    later = changes_of(AuditKind.JOB, job.pk).filter(at__gte=entry.at)
    present = _present(job)
    differences, data, left_out = {}, {}, {}
    for field, then in state_after(list(later), entry).items():
        if field == "created_by" and not is_admin(by):
            continue
        shown = masked_pair(present.get(field), present.get(field))[0]
        if shown == then:
            continue
        differences[field] = (shown, then)
        try:
            data[field] = _FINDERS.get(field, _plain)(field, then, present.get(field))
        except LeftOut as reason:
            left_out[field] = str(reason)
    return Version(entry=entry, differences=differences, data=data, left_out=left_out)


@retry_conflicts
@transaction.atomic
def restore_job(
    job: Job,
    *,
    entry: AuditEntry,
    by: User,
    now: datetime,
    via: str = "api",
    fields: Collection[str] | None = None,
) -> Job:
    """Put the job (or only these `fields` of it) back to what it was once `entry` was written."""
    version = version_of(lock_job(job.pk), entry, by=by)
    data = {field: value for field, value in version.data.items() if fields is None or field in fields}
    if not data:
        raise InvalidInput("There is nothing to put back: choose at least one field that differs.")
    note = f"The version of {entry.at:%Y-%m-%d %H:%M:%S} UTC."
    return update_job(job, data=data, by=by, now=now, via=via, kept_as=AuditAction.RESTORED, note=note)


def _present(job: Job) -> dict[str, Any]:
    """The job's values as the history writes them."""
    values = kept_values(job)
    owner = job.created_by.username if job.created_by else None
    return {**values, "is_active": job.is_active, "created_by": owner}


def _plain(field: str, then: Any, present: Any) -> Any:
    whole = filled_in(then, present)
    if has_marks(whole):
        raise LeftOut("It held a secret, which the history does not keep: enter it by hand.")
    return whole


def _secret(field: str, then: Any, present: Any) -> Any:
    raise LeftOut("The history keeps no secrets: enter it by hand.")


def _owner(field: str, then: Any, present: Any) -> str | None:
    if then is None:
        return None
    user = User.objects.filter(username_key=name_key(str(then)), is_active=True).first()
    if user is None:
        raise LeftOut(f"{then} is no active user any more.")
    return str(user.pk)


def _taxon(model: type[JobCategory] | type[PicTeam], kind: AuditKind) -> Callable[[str, Any, Any], Any]:
    def find(field: str, then: Any, present: Any) -> Any:
        """The row that had this slug then: it may have been renamed since."""
        found = model.objects.filter(slug=then).first()
        if found is None and (key := _renamed(kind, then)):
            found = model.objects.filter(pk=key).first()
        if found is None:
            raise LeftOut(f"{then or 'None'} is not there any more.")
        return found

    return find


def _renamed(kind: AuditKind, slug: Any) -> str | None:
    """Whose slug this was, by the history of renames; those are few."""
    for entry in AuditEntry.objects.filter(kind=kind, action=AuditAction.UPDATED).iterator():
        if entry.changes.get("slug", [None])[0] == slug:
            return str(entry.object_id)
    return None


_FINDERS: Final[Mapping[str, Callable[[str, Any, Any], Any]]] = {
    "signing_secret": _secret,
    "created_by": _owner,
    "category": _taxon(JobCategory, AuditKind.CATEGORY),
    "pic_team": _taxon(PicTeam, AuditKind.TEAM),
}
