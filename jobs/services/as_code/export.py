"""Jobs, teams and categories as YAML that `apply` takes back without a change: by name, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.services.as_code.core_schema import add_resolvers
from jobs.services.as_code.document import TAXON_DEFAULTS
from jobs.services.validation import RULES
from taxonomy.models import GENERAL, JobCategory, PicTeam

CHUNK: Final = 500
_HEAD: Final = "# Jobs of cronsched as text; `manage.py apply` reads it back. docs/as-code.md says how.\n"
# Where a person looks for them.
_ORDER: Final = (
    "name", "cron_expression", "timezone", "catch_up", "category", "pic_team", "owner", "end_date",
    "is_active", "target_url", "github_owner", "github_repo", "github_workflow_name", "metadata",
)  # fmt: skip


_BREAKS: Final = re.compile("[\x85\u2028\u2029]")


class _Quoted(str):
    """Text that always stands in quotes: an expression may begin with an asterisk."""


class _Dumper(yaml.SafeDumper):
    """Text stands in quotes where any reader, of YAML 1.1 or 1.2, would take it for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # In other styles these would stand as they are, and be read as line breaks.
    style = '"' if _BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


add_resolvers(_Dumper)
# YAML 1.1's short booleans, which PyYAML itself does not know.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]\Z"), list("yYnN"))
_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def yaml_lines(jobs: JobQuerySet) -> Iterator[str]:
    """First all categories and teams, then a piece for each job, by name."""
    categories = _section("categories", map(_category, JobCategory.objects.order_by("slug")))
    teams = _section("teams", map(_team, PicTeam.objects.order_by("slug")))
    yield f"{_HEAD}{categories}{teams}\njobs:\n"
    rows = jobs.without_secrets().select_related("category", "pic_team", "created_by").defer("search_text")
    for number, job in enumerate(rows.order_by("name_key").iterator(chunk_size=CHUNK)):
        yield f"{chr(10) if number else ''}{_entry(_job(job))}"


def _section(name: str, entries: Iterable[Mapping[str, Any]]) -> str:
    texts = [_entry(entry) for entry in entries]
    return "".join([f"\n{name}:\n", *texts]) if texts else ""


def _entry(values: Mapping[str, Any]) -> str:
    text = yaml.dump([dict(values)], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"  {line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n"))


def _category(row: JobCategory) -> dict[str, Any]:
    return {"slug": row.slug, "name": row.name, **_unusual("categories", row)}


def _team(row: PicTeam) -> dict[str, Any]:
    return {"slug": row.slug, "name": row.name, "slack_handle": row.slack_handle, **_unusual("teams", row)}


def _unusual(section: str, row: JobCategory | PicTeam) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in TAXON_DEFAULTS[section]}
    return {name: value for name, value in values.items() if value != TAXON_DEFAULTS[section][name]}


def _job(job: Job) -> dict[str, Any]:
    """What differs from the defaults, and what every job has."""
    values = {
        field: getattr(job, field) for field, rule in RULES.items() if getattr(job, field) != rule.default
    }
    values["cron_expression"] = _Quoted(job.cron_expression)
    if job.category.slug != GENERAL:
        values["category"] = job.category.slug
    if job.pic_team is not None:
        values["pic_team"] = job.pic_team.slug
    if job.created_by is not None:
        values["owner"] = job.created_by.username
    rank = {field: number for number, field in enumerate(_ORDER)}
    shown = {field: value for field, value in values.items() if value is not None}
    return dict(sorted(shown.items(), key=lambda pair: rank.get(pair[0], len(rank))))
