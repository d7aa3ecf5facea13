"""Categories and teams. Jobs name them by slug, there and here.

One that is here under the same slug is that one: where no job has it yet, it takes over the earlier id.
"""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction

from cronsched.core.db import insert_values
from cronsched.core.text import clean_name, name_key
from cronsched.legacy.context import Import, store, times
from cronsched.legacy.report import Kind
from cronsched.legacy.source import Row
from cronsched.legacy.values import flag, text, uuid_of
from taxonomy.models import GENERAL, JobCategory, PicTeam, Taxon
from taxonomy.services import NAME_MAX
from taxonomy.slugs import SLUG_MAX, slug_for, slugify

_UPDATED: Final = ("name", "name_key", "is_active", "updated_at")


def bring_taxa(run: Import) -> None:
    _Taxa(run, "job_categories", JobCategory, run.categories).bring()
    _Taxa(run, "pic_teams", PicTeam, run.teams).bring()


class _Taxa:
    def __init__(self, run: Import, table: str, model: Any, found: dict[str, Any]) -> None:
        self.run, self.table, self.model, self.found = run, table, model, found
        here: list[Any] = list(model.objects.all())
        self.ids = {row.pk: row for row in here}
        self.slugs = {row.slug: row for row in here}
        self.names = {row.name_key: row for row in here}
        # Those that must keep their id: jobs have them, or this import has just brought them.
        self.settled = set(model.objects.filter(jobs__isnull=False).values_list("pk", flat=True))
        # Taken by the names and slugs that are here, whoever brought them.
        self.found.update(self.slugs)

    def bring(self) -> None:
        for batch in self.run.batches(self.run.rows_oldest_first(self.table)):
            for row in batch:
                self._one(row)

    def _one(self, row: Row) -> None:
        taxon = self._read(row)
        stored = self.ids.get(taxon.pk)
        same = self.slugs.get(taxon.slug)
        if stored is not None:
            self.found[text(row.get("slug"))] = stored
            self._again(row, taxon, stored)
            return
        if not taxon.name or not taxon.slug:
            self.run.left_out(self.table, row, "it has neither name nor slug")
            return
        if same is None:
            self._free_name(row, taxon)
            self._add(row, taxon)
        elif same.pk in self.settled:
            self.found[text(row.get("slug"))] = same
            self.run.report.count(self.table, "already")
            self.run.adjusted(self.table, row, "one of that slug was here", f"it keeps its id {same.pk}")
        else:
            self._take_over(row, taxon, same)

    def _again(self, row: Row, taxon: Any, stored: Any) -> None:
        if not self.run.is_newer(row, stored.updated_at):
            self.run.report.count(self.table, "already")
        elif not self.run.options.update:
            self.run.report.count(self.table, "already")
            self.run.find(self.table, row, Kind.CHANGED_THERE, "the row")
        else:
            self._free_name(row, taxon)
            # The slug too: jobs of the earlier system name it by the one that it has now.
            names = (*_UPDATED, "slug", *(["slack_handle"] if self.model is PicTeam else []))
            other = self.slugs.get(taxon.slug)
            if other is not None and other.pk != taxon.pk:
                taxon.slug = stored.slug
            if not self.run.options.dry_run:
                store(self.model, [], [(taxon, names)])
            self.run.report.count(self.table, "updated")
            self._keep(row, taxon)

    def _add(self, row: Row, taxon: Any) -> None:
        if not self.run.options.dry_run:
            store(self.model, [taxon])
        self.run.report.count(self.table, "new")
        self._keep(row, taxon)

    def _take_over(self, row: Row, taxon: Any, same: Any) -> None:
        """The seeded row of that slug gives way, nothing hangs on it; its name is free then."""
        key = same.name_key
        if self.names.get(key) is same:
            del self.names[key]
        self._free_name(row, taxon)
        if not self.run.options.dry_run:
            self._replace(same, taxon)
        self.run.report.count(self.table, "new")
        self._keep(row, taxon)

    def _replace(self, old: Any, new: Any) -> None:
        fields = self.model._meta.concrete_fields
        with transaction.atomic():
            self.model.objects.filter(pk=old.pk).delete()
            values = [getattr(new, field.attname) for field in fields]
            insert_values(self.model, [field.name for field in fields], [values])

    def _keep(self, row: Row, taxon: Any) -> None:
        self.found[text(row.get("slug"))] = self.found[taxon.slug] = taxon
        self.ids[taxon.pk] = self.slugs[taxon.slug] = self.names[taxon.name_key] = taxon
        self.settled.add(taxon.pk)

    def _free_name(self, row: Row, taxon: Any) -> None:
        """Two of one name: the second is told apart by its slug, so that its jobs are not lost."""
        other = self.names.get(taxon.name_key)
        if other is not None and other.pk != taxon.pk:
            taxon.name = f"{taxon.name[: NAME_MAX - SLUG_MAX - 3]} ({taxon.slug})"
            taxon.name_key = name_key(taxon.name)
            self.run.adjusted(
                self.table, row, "the name is taken, without regard to case", f'now "{taxon.name}"'
            )

    def _read(self, row: Row) -> Taxon:
        created, updated = times(row, self.run.options.now)
        given = text(row.get("slug"))
        name = clean_name(text(row.get("name")))[:NAME_MAX] or given[:NAME_MAX]
        slug = slugify(given) or (slug_for(name, kind="legacy") if name else "")
        if slug != given:
            self.run.adjusted(self.table, row, "the slug is spelled as slugs are here", f'"{slug}"')
        taxon: Taxon = self.model(
            id=uuid_of(row["id"]),
            slug=slug,
            name=name,
            name_key=name_key(name),
            is_active=flag(row.get("is_active"), True) or (self.model is JobCategory and slug == GENERAL),
            created_at=created,
            updated_at=updated,
        )
        if isinstance(taxon, PicTeam):
            taxon.slack_handle = text(row.get("slack_handle")).strip()[:NAME_MAX]
        return taxon
