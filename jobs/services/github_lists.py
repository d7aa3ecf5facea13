"""What the form of a job offers to choose from, read with the repository's token; three seconds at most.

A workflow's own `inputs` are read out of its file (docs.github.com, workflow syntax:
`on.workflow_dispatch.inputs`), whoever wrote it: bounded in size, and only what has the expected shape.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

import yaml
from django.conf import settings

from cronsched.core.crypto import SecretUnreadable
from jobs.engine import config as engine_config
from jobs.engine.follow.reading import fault_of
from jobs.engine.github_tokens import Credential, TokenBook
from jobs.engine.transports.github import choose_ref, input_text, merge_inputs
from jobs.models import Job
from jobs.services import fields
from jobs.services.fields import Refused
from jobs.services.github_api import RAW, Asker, Unavailable, ask

WITHIN_S: Final = 3.0
_PER_PAGE: Final = 100
# After the first page these are asked for at once: a thousand names at most.
_WAVES: Final = (range(2, 5), range(5, 11))
_NAMES_MAX: Final = 1000
_SEARCH_MAX: Final = 100
# The rest of the time is for connecting, and for an App's token.
_SHARE_OF_PAGES: Final = 0.7
_FILE_MAX: Final = 512 * 1024
_TEXT_MAX: Final = 500
_UNKNOWN: Final = 'The workflow has no input "{name}".'
_HIDDEN: Final = (
    'The workflow\'s run-name does not show the input "{name}": runs cannot be found by it, and a dispatch '
    "without an answer is not repeated."
)
_TYPES: Final = frozenset({"string", "boolean", "choice", "number", "environment"})
_TRUTHS: Final = frozenset({"true", "false"})
# YAML 1.2, as GitHub reads it.
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_OPTIONS_MAX: Final = 1000
# What workflows come nowhere near.
_DEPTH_MAX: Final = 50
_NODES_MAX: Final = 50_000
_ALIASES_MAX: Final = 200
# Every scalar stays the text that is written: no dates, no `on` that is true, no merged keys.
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkflowInput:
    """One input as the file declares it; `default` is text, as GitHub hands it over. None: there is none."""

    name: str
    type: str = "string"
    description: str = ""
    is_required: bool = False
    default: str | None = None
    options: tuple[str, ...] = ()

    def fault(self, value: Any) -> str:
        """What is wrong with a value that a job gives it; "" where it fits. No value is the default's."""
        text = "" if value is None else input_text(value)
        if text == "":
            has_none = self.is_required and not self.default
            return f'The workflow requires the input "{self.name}".' if has_none else ""
        if self.type == "boolean" and text not in _TRUTHS:
            return f'The input "{self.name}" is a boolean: write true or false.'
        if self.type == "number" and not _is_number(text):
            return f'The input "{self.name}" is a number.'
        if self.type == "choice" and text not in self.options:
            return f'The input "{self.name}" must be one of: {", ".join(self.options)}.'
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatchable:
    """What a workflow file says of being dispatched."""

    inputs: tuple[WorkflowInput, ...] = ()
    has_trigger: bool = True
    run_name: str = ""


# ---- lists ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """Names to choose from; `is_cut`: there are more than were read."""

    names: list[str]
    is_cut: bool = False


def list_repositories(owner: str, search: str = "") -> Listed:
    """Names of the owner's repositories that the token sees, newest pushes first. Raises Unavailable.

    With `search` those that have it in their name, of all that there are.
    """
    owner = _clean("github_owner", owner or settings.GITHUB_DEFAULT_OWNER)

    async def work(asker: Asker) -> Listed:
        if search:
            query = quote(f"{search[:_SEARCH_MAX]} in:name user:{owner} fork:true")
            return await _names(asker, f"search/repositories?q={query}", lambda said: _owned(said, owner))
        path = "installation/repositories" if asker.permissions is not None else "user/repos"
        return await _names(asker, f"{path}?sort=pushed", lambda said: _owned(said, owner))

    return ask(_credential(owner, ""), work, timeout_s=WITHIN_S)


def list_workflows(owner: str, repo: str) -> Listed:
    """File names of the repository's active workflows. Raises Unavailable."""
    owner, repo = _repository(owner, repo)

    async def work(asker: Asker) -> Listed:
        found = await _names(asker, f"{_path(owner, repo)}/actions/workflows", _workflow_files)
        return replace(found, names=sorted(found.names))

    return ask(_credential(owner, repo), work, timeout_s=WITHIN_S)


def list_branches(owner: str, repo: str, search: str = "") -> Listed:
    """Names of branches; with `search` all that begin with it. Raises Unavailable."""
    owner, repo = _repository(owner, repo)

    async def work(asker: Asker) -> Listed:
        if search:
            # Answered in one piece.
            prefix = quote(search[:_SEARCH_MAX])
            refs = await _json(asker, f"{_path(owner, repo)}/git/matching-refs/heads/{prefix}")
            names = [row["ref"].removeprefix("refs/heads/") for row in _rows(refs, "ref")]
            return Listed(names=names[:_NAMES_MAX], is_cut=len(names) > _NAMES_MAX)
        return await _names(
            asker, f"{_path(owner, repo)}/branches", lambda said: [row["name"] for row in _rows(said, "name")]
        )

    return ask(_credential(owner, repo), work, timeout_s=WITHIN_S)


def _owned(said: Any, owner: str) -> list[str]:
    rows = said.get("repositories", said.get("items")) if isinstance(said, dict) else said
    return [row["name"] for row in _rows(rows, "name") if _owner_of(row) == owner.casefold()]


def _workflow_files(said: Any) -> list[str]:
    rows = _rows(said.get("workflows") if isinstance(said, dict) else None, "path")
    names = [row["path"].rpartition("/")[2] for row in rows if row.get("state", "active") == "active"]
    return [name for name in names if name.endswith((".yml", ".yaml"))]


async def _names(asker: Asker, path: str, read: Callable[[Any], list[str]]) -> Listed:
    """Page after page, some at once, within the time that is left of what a form may wait."""
    until = asyncio.get_running_loop().time() + WITHIN_S * _SHARE_OF_PAGES
    first = await _page(asker, path, 1)
    names, is_last = read(first), _is_last(first)
    for pages in _WAVES:
        if is_last:
            break
        got = await _in_time([_page(asker, path, page) for page in pages], until)
        names += [name for one in got if one is not None for name in read(one)]
        if any(one is None for one in got):
            return Listed(names=names, is_cut=True)
        is_last = any(_is_last(one) for one in got)
    return Listed(names=list(dict.fromkeys(names)), is_cut=not is_last)


async def _in_time(pages: Sequence[Coroutine[Any, Any, Any]], until: float) -> list[Any]:
    """What these answer; None for one that does not answer in time, or with a fault."""
    tasks = [asyncio.ensure_future(page) for page in pages]
    await asyncio.wait(tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))
    for task in tasks:
        task.cancel()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    return [None if isinstance(one, BaseException) else one for one in got]


async def _page(asker: Asker, path: str, page: int) -> Any:
    return await _json(asker, f"{path}{'&' if '?' in path else '?'}per_page={_PER_PAGE}&page={page}")


def _is_last(said: Any) -> bool:
    """Whether a page is not full, whatever the list in it is called."""
    if isinstance(said, dict):
        said = next((value for value in said.values() if isinstance(value, list)), [])
    return not isinstance(said, list) or len(said) < _PER_PAGE


def read_workflow(owner: str, repo: str, workflow: str, ref: str) -> Dispatchable:
    """What the file on that branch says. Raises Unavailable."""
    owner, repo = _repository(owner, repo)
    workflow = _clean("github_workflow_name", workflow)

    async def work(asker: Asker) -> Dispatchable:
        path = f"{_path(owner, repo)}/contents/.github/workflows/{quote(workflow, safe='')}"
        answer = await asker.get(f"{path}?ref={quote(ref, safe='')}", accept=RAW)
        if fault := fault_of(answer):
            raise Unavailable(fault)
        return parse_workflow(answer.body)

    return ask(_credential(owner, repo), work, timeout_s=WITHIN_S)


# ---- a job against its workflow ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class InputCheck:
    """What a job's workflow makes of it: what GitHub would refuse, by the job's field, and what is unwise."""

    faults: Mapping[str, list[str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def check_inputs(job: Job) -> InputCheck:
    """A job that calls a workflow against the file as it is now. Raises Unavailable."""
    owner = job.github_owner or settings.GITHUB_DEFAULT_OWNER
    ref = choose_ref(None, job.metadata or {}, settings.GITHUB_DEFAULT_REF)
    found = read_workflow(owner, job.github_repo, job.github_workflow_name, ref)
    if not found.has_trigger:
        text = f"{job.github_workflow_name} has no workflow_dispatch trigger: GitHub will refuse to start it."
        return InputCheck(warnings=(text,))
    given, id_input = merge_inputs(job.metadata or {}, None), job.github_correlation_input
    given.pop(id_input, None)
    declared = [one for one in found.inputs if one.name != id_input]
    faults = {
        "metadata": input_faults(declared, given),
        "github_correlation_input": _id_faults(found, id_input) if id_input else [],
    }
    is_shown = not id_input or id_input in found.run_name
    hidden = () if is_shown else (_HIDDEN.format(name=id_input),)
    return InputCheck(faults={name: texts for name, texts in faults.items() if texts}, warnings=hidden)


def input_faults(declared: Iterable[WorkflowInput], given: Mapping[str, Any]) -> list[str]:
    """Inputs that the workflow does not know, that it misses, and values that do not fit."""
    by_name = {one.name: one for one in declared}
    unknown = [_UNKNOWN.format(name=name) for name in given if name not in by_name]
    return unknown + [fault for one in by_name.values() if (fault := one.fault(given.get(one.name)))]


def _id_faults(found: Dispatchable, name: str) -> list[str]:
    one = next((one for one in found.inputs if one.name == name), None)
    if one is None:
        return [_UNKNOWN.format(name=name)]
    return [f'The input "{name}" gets an id: it must be a string.'] if one.type != "string" else []


def parse_workflow(text: str) -> Dispatchable:
    """The inputs that a workflow file declares. Raises Unavailable for what is no workflow."""
    if len(text) > _FILE_MAX:
        raise Unavailable("The workflow file is too large to be read here.")
    try:
        _bound(text)
        said = yaml.load(text, Loader=_LOADER)  # noqa: S506 - the base loader makes texts, lists and mappings
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Unavailable("The workflow file is not valid YAML.") from None
    if not isinstance(said, dict):
        raise Unavailable("The file is no workflow.")
    return replace(_of_triggers(said.get("on")), run_name=_text(said.get("run-name")) or "")


def _bound(text: str) -> None:
    """Before anything is built: refuse what would take long to build, however short it is written."""
    depth = nodes = aliases = 0
    for event in yaml.parse(text, Loader=_LOADER):
        nodes += isinstance(event, yaml.NodeEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH_MAX or nodes > _NODES_MAX or aliases > _ALIASES_MAX:
            raise Unavailable("The workflow file is too intricate to be read here.")


def _of_triggers(on: Any) -> Dispatchable:
    if isinstance(on, str | list):
        names = [on] if isinstance(on, str) else on
        return Dispatchable(has_trigger="workflow_dispatch" in names)
    if not isinstance(on, dict) or "workflow_dispatch" not in on:
        return Dispatchable(has_trigger=False)
    trigger = on["workflow_dispatch"]
    inputs = trigger.get("inputs") if isinstance(trigger, dict) else None
    found = list(inputs.items())[: fields.INPUTS_MAX] if isinstance(inputs, dict) else []
    return Dispatchable(inputs=tuple(_input(str(name)[:_TEXT_MAX], spec) for name, spec in found))


def _input(name: str, spec: Any) -> WorkflowInput:
    given = spec if isinstance(spec, dict) else {}
    kind = given.get("type")
    options = given.get("options")
    return WorkflowInput(
        name=name,
        type=kind if kind in _TYPES else "string",
        description=_text(given.get("description")) or "",
        is_required=_text(given.get("required")) in _TRUE,
        default=_default(given.get("default"), kind),
        options=tuple(
            text
            for one in (options if isinstance(options, list) else [])[:_OPTIONS_MAX]
            if (text := _text(one)) is not None
        ),
    )


def _default(value: Any, kind: Any) -> str | None:
    """As GitHub hands it over; an empty one is none."""
    text = _text(value)
    if text in _NULL:
        return None
    return text.lower() if text is not None and kind == "boolean" else text


def _text(value: Any) -> str | None:
    """The text of a scalar, as it is written; None for all else: an alias may hide a mountain."""
    return value[:_TEXT_MAX] if isinstance(value, str) else None


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


# ---- asking -----------------------------------------------------------------------------------


def _credential(owner: str, repo: str) -> Credential:
    try:
        return TokenBook(engine_config.from_settings()).find(owner, repo)
    except SecretUnreadable as error:
        raise Unavailable(str(error)) from None


def _repository(owner: str, repo: str) -> tuple[str, str]:
    """Both names, of which the second may hold the first."""
    before, name = fields.split_repository(repo.strip())
    owner = before or owner or settings.GITHUB_DEFAULT_OWNER
    return _clean("github_owner", owner), _clean("github_repo", name)


def _clean(field: str, value: str) -> str:
    check = fields.check_workflow if field == "github_workflow_name" else fields.check_github_name
    try:
        text = fields.shape_text(field, value)
        check(field, text)
    except Refused as refusal:
        raise Unavailable(str(refusal)) from None
    if not text:
        raise Unavailable(f"{field} is required.")
    return text


def _path(owner: str, repo: str) -> str:
    return f"repos/{quote(owner, safe='')}/{quote(repo, safe='')}"


async def _json(asker: Asker, path: str) -> Any:
    answer = await asker.get(path)
    if fault := fault_of(answer):
        raise Unavailable(fault)
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Unavailable("GitHub's answer could not be read.") from None


def _rows(value: Any, key: str) -> list[dict[str, Any]]:
    rows = value if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get(key), str)]


def _owner_of(row: Mapping[str, Any]) -> str:
    owner = row.get("owner")
    login = owner.get("login") if isinstance(owner, dict) else ""
    return str(login).casefold()
