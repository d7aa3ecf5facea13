"""What files say, brought about: one transaction for all of it, by the services that serve everybody.

A file says how a job is to be: a field that does not stand there has its default. Left alone are what is no
file's to say (secrets), and, where the file does not name them, the owner and whether a job is paused:
somebody may have paused it for a reason.

Jobs that files name belong to the files' set (`Job.managed_by`). Pruning takes only jobs of the set.
A dry run does all of it, and takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count

from accounts.models import User
from accounts.roles import is_admin, may_change_job, may_create_jobs, may_manage
from cronsched.core.db import retry_conflicts
from cronsched.core.errors import DomainError
from cronsched.core.text import clean_name, is_storable, name_key
from jobs.models import Job, JobExecution
from jobs.services.as_code.document import TAXON_DEFAULTS, Fault, Item, Reading
from jobs.services.bulk_upload.columns import Entry
from jobs.services.bulk_upload.engine import Action, Outcome, Upload, upload_jobs
from jobs.services.lifecycle import delete_job, pause_job
from jobs.services.validation import RULES
from taxonomy.models import GENERAL, JobCategory, PicTeam
from taxonomy.services import create_category, create_team, update_category, update_team

_REQUIRED: Final = ("pic_team", "end_date", "name", "cron_expression")
# A file that does not name them leaves them as they are.
_LEFT_ALONE: Final = frozenset({"is_active"})
_VIA: Final = "command"


class Prune(StrEnum):
    NO = "no"
    PAUSE = "pause"
    DELETE = "delete"


class Sign(StrEnum):
    CREATE = "+"
    CHANGE = "~"
    PRUNE = "-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One line of the plan. `changes` are field → (old, new); of something new, (None, value)."""

    sign: Sign
    what: str
    name: str
    place: str = ""
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    note: str = ""


@dataclass(kw_only=True)
class Plan:
    steps: list[Step] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unchanged: int = 0

    def count(self, sign: Sign) -> int:
        return sum(step.sign is sign for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Who applies, and how. `by` None is the installation itself."""

    by: User | None
    now: datetime
    set_name: str = "default"
    prune: Prune = Prune.NO
    dry_run: bool = False


@retry_conflicts
def apply_files(reading: Reading, order: Order) -> Plan:
    """Bring about what the files say, or, with a single fault, nothing of it."""
    plan = Plan(faults=list(reading.faults))
    with transaction.atomic():
        work = _Work(reading, order, plan)
        work.check_repeats()
        work.taxa("categories", JobCategory)
        work.taxa("teams", PicTeam)
        work.jobs()
        work.prune()
        if order.dry_run or plan.faults:
            transaction.set_rollback(True)
    return plan


class _Work:
    def __init__(self, reading: Reading, order: Order, plan: Plan) -> None:
        self.reading, self.order, self.plan = reading, order, plan
        self.named: set[UUID] = set()

    def check_repeats(self) -> None:
        """A job, team or category that stands twice is a fault: nobody can tell which was meant."""
        seen: dict[tuple[str, str], Item] = {}
        for item in self.reading.items:
            if not item.name:
                self._fault(item, f"name is required: an entry of {item.section} without one.", "name")
                continue
            first = seen.setdefault((item.section, name_key(item.name)), item)
            if first is not item:
                self._fault(item, f'"{item.name}" stands in {first.file}:{first.line} already.', "name")

    def _fault(self, item: Item, message: str, field: str = "") -> None:
        self.plan.faults.append(item.fault(message, field))

    def _refused(self, item: Item, details: Mapping[str, Sequence[str]], message: str) -> None:
        """Each field's message at its own line."""
        for name, messages in (details or {"": [message]}).items():
            for text in messages:
                self._fault(item, text, "owner" if name == "created_by" else name)

    # ---- categories and teams ----

    def taxa(self, section: str, model: type[JobCategory | PicTeam]) -> None:
        rows: list[Any] = list(model.objects.all())
        by_slug = {row.slug: row for row in rows}
        by_name = {row.name_key: row for row in rows}
        for item in self.reading.of(section):
            if not item.name or not is_storable(item.name):
                continue
            # Its slug follows its name; the one in the file finds it before it is renamed.
            stored = by_slug.get(str(item.data.get("slug", ""))) or by_name.get(name_key(item.name))
            self._guard(item, partial(self._taxon, item, model, stored))

    def _guard(self, item: Item, act: Callable[[], None]) -> None:
        try:
            with transaction.atomic():
                act()
        except DomainError as error:
            self._refused(item, error.details, error.message)

    def _taxon(self, item: Item, model: type[JobCategory | PicTeam], stored: Any) -> None:
        wanted = {
            **TAXON_DEFAULTS[item.section],
            **{key: item.data[key] for key in item.data if key != "slug"},
        }
        wanted["name"] = clean_name(item.name)
        kind = "category" if model is JobCategory else "team"
        before = {key: getattr(stored, key) for key in wanted} if stored is not None else {}
        changes = {key: (before.get(key), value) for key, value in wanted.items() if before.get(key) != value}
        if not changes:
            self.plan.unchanged += 1
            return
        if self.order.by is not None and not may_manage(self.order.by):
            self._fault(item, f"{self.order.by.username} may not change {item.section}: that takes an admin.")
            return
        old_slug = stored.slug if stored is not None else None
        row = self._write_taxon(item, model, stored, wanted)
        if row.slug != old_slug:
            changes["slug"] = (old_slug, row.slug)
        sign = Sign.CREATE if stored is None else Sign.CHANGE
        self._step(sign, kind, item, changes)

    def _write_taxon(
        self, item: Item, model: type[JobCategory | PicTeam], stored: Any, wanted: Mapping[str, Any]
    ) -> Any:
        by, now = self.order.by, self.order.now
        if stored is None:
            stored = self._new_taxon(item, model)
        if model is PicTeam:
            return update_team(stored, data=wanted, by=by, now=now, via=_VIA).pic_team
        return update_category(stored, data=wanted, by=by, now=now, via=_VIA).category

    def _new_taxon(self, item: Item, model: type[JobCategory | PicTeam]) -> Any:
        name, slug, by, now = item.name, item.data.get("slug"), self.order.by, self.order.now
        if model is PicTeam:
            handle = item.data.get("slack_handle")
            return create_team(name=name, slug=slug, slack_handle=handle, by=by, now=now, via=_VIA)
        return create_category(name=name, slug=slug, by=by, now=now, via=_VIA)

    def _step(
        self, sign: Sign, what: str, item: Item, changes: Mapping[str, tuple[Any, Any]], note: str = ""
    ) -> None:
        place = f"{item.file}:{item.line}"
        self.plan.steps.append(
            Step(sign=sign, what=what, name=item.name, place=place, changes=changes, note=note)
        )

    # ---- jobs ----

    def jobs(self) -> None:
        items = [item for item in self.reading.of("jobs") if item.name]
        keys = {name_key(item.name) for item in items if is_storable(item.name)}
        stored = {job.name_key: job for job in Job.objects.filter(name_key__in=keys)}
        owners = self._owners(items)
        entries, taken = [], []
        for item in items:
            job = stored.get(name_key(item.name))
            if self._may_manage(item, job):
                entries.append(self._entry(item, owners))
                taken.append(item)
        upload = Upload(
            by=self.order.by,
            owner_id=self.order.by.pk if self.order.by else None,
            now=self.order.now,
            via=_VIA,
        )
        for item, outcome in zip(taken, upload_jobs(entries, upload), strict=True):
            self._outcome(item, outcome, stored.get(name_key(item.name)))
        self._mark()

    def _owners(self, items: Sequence[Item]) -> dict[str, User]:
        """Users by the names that files give them."""
        names = {name_key(str(item.data["owner"])) for item in items if item.data.get("owner")}
        return {user.username_key: user for user in User.objects.filter(username_key__in=names)}

    def _may_manage(self, item: Item, job: Job | None) -> bool:
        by = self.order.by
        if job is None and by is not None and not may_create_jobs(by):
            self._fault(item, f"{by.username} may not create jobs: their role is {by.role}.")
            return False
        if job is not None and job.managed_by not in ("", self.order.set_name):
            self._fault(
                item, f'This job belongs to the set "{job.managed_by}": take it out of that one first.'
            )
            return False
        if job is not None and by is not None and not may_change_job(by, created_by_id=job.created_by_id):
            self._fault(item, f"{by.username} may not change this job: it belongs to somebody else.")
            return False
        return True

    def _entry(self, item: Item, owners: Mapping[str, User]) -> Entry:
        data: dict[str, Any] = {
            name: rule.default
            for name, rule in RULES.items()
            if name not in _REQUIRED and name not in _LEFT_ALONE
        }
        # Null for what must be given: refused, unless the job never had it.
        data |= {"category": GENERAL, "pic_team": None, "end_date": None}
        data |= {name: value for name, value in item.data.items() if name != "owner"}
        self._own(item, data, owners)
        return Entry(row=item.line, name=item.name, data=data)

    def _own(self, item: Item, data: dict[str, Any], owners: Mapping[str, User]) -> None:
        if "owner" not in item.data:
            return
        owner = owners.get(name_key(str(item.data["owner"] or "")))
        by = self.order.by
        if item.data["owner"] and owner is None:
            self._fault(item, f'There is no user "{item.data["owner"]}".', "owner")
        elif by is not None and not is_admin(by) and (owner is None or owner.pk != by.pk):
            self._fault(item, "Only an admin gives jobs to others.", "owner")
        else:
            data["created_by"] = owner.pk if owner is not None else None

    def _outcome(self, item: Item, outcome: Outcome, stored: Job | None) -> None:
        if outcome.action is Action.FAILED or outcome.job is None:
            self._refused(item, outcome.details, outcome.error)
            return
        self.named.add(outcome.job.pk)
        if outcome.action is Action.CREATED:
            shown = {name: (None, value) for name, value in item.data.items() if name != "name"}
            self._step(Sign.CREATE, "job", item, shown)
            return
        changes = {
            ("owner" if name == "created_by" else name): pair for name, pair in outcome.changes.items()
        }
        is_adopted = stored is not None and stored.managed_by != self.order.set_name
        if changes or is_adopted:
            note = f'from now on in the set "{self.order.set_name}"' if is_adopted else ""
            self._step(Sign.CHANGE, "job", item, changes, note)
        else:
            self.plan.unchanged += 1

    def _mark(self) -> None:
        marked = Job.objects.filter(pk__in=self.named).exclude(managed_by=self.order.set_name)
        marked.update(managed_by=self.order.set_name)

    # ---- what no file names any more ----

    def prune(self) -> None:
        if self.order.prune is Prune.NO or self.plan.faults:
            return
        gone = (
            Job.objects.filter(managed_by=self.order.set_name).exclude(pk__in=self.named).order_by("name_key")
        )
        if self.order.prune is Prune.PAUSE:
            gone = gone.filter(is_active=True)
        if not self.named and (count := gone.count()):
            self._refuse_to_prune_all(count)
            return
        runs = _run_counts(gone)
        for job in gone:
            self._prune_one(job, runs.get(job.pk, 0))

    def _refuse_to_prune_all(self, count: int) -> None:
        """Files that name no job at all are more often a slip (an empty pipe) than meant so."""
        message = (
            f"The files name no job, so that all {count} of the set "
            f'"{self.order.set_name}" would go. Look at what the files hold. If that is meant, '
            f"{self.order.prune} them in the admin site or by the API, then apply again."
        )
        self.plan.faults.append(Fault(file="--prune", line=0, message=message))

    def _prune_one(self, job: Job, runs: int) -> None:
        by, now = self.order.by, self.order.now
        if by is not None and not may_change_job(by, created_by_id=job.created_by_id):
            message = f'{by.username} may not prune "{job.name}": it belongs to somebody else.'
            self.plan.faults.append(Fault(file="--prune", line=0, message=message))
            return
        if self.order.prune is Prune.PAUSE:
            pause_job(job, by=by, now=now, via=_VIA)
            note = "is paused"
        else:
            delete_job(job, by=by, now=now, via=_VIA)
            note = f"is deleted, with {runs} of its runs"
        self.plan.steps.append(Step(sign=Sign.PRUNE, what="job", name=job.name, note=note))


def _run_counts(jobs: Any) -> dict[UUID, int]:
    counts = JobExecution.objects.filter(job__in=jobs).order_by().values("job_id").annotate(runs=Count("pk"))
    return dict(counts.values_list("job_id", "runs"))
