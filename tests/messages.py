"""The catalogue of the Japanese translation: found in the code, kept in cronsched/locale.

`make messages` brings the catalogue up to date and lists what is left to translate; the tests say when
that was forgotten. Three kinds of texts go in:

- ours: what is marked for gettext in our Python files and templates;
- unfold's, which brings no translations of its own, as far as Django's catalogues do not have them;
- said: English sentences of services, of the engine and in stored rows, which are made without a language
  and translated when they are shown (`cronsched.core.said`). They are found in SAID, marked or not.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import django
import unfold
from babel.messages import mofile, pofile
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from django.utils.translation.template import templatize

from cronsched.core.said import PLACEHOLDER

ROOT = Path(__file__).resolve().parent.parent
DJANGO = Path(django.__file__).parent
LOCALE = ROOT / "cronsched" / "locale"
PO = LOCALE / "ja" / "LC_MESSAGES" / "django.po"
MO = PO.with_suffix(".mo")
TEMPLATES = LOCALE / "said.json"
CONTEXT = "said"
APPS = ("accounts", "cronsched", "jobs", "notifications", "taxonomy")
# Where sentences are made that people read. A file or a folder; its tests and logs do not count.
SAID = (
    "accounts/login.py",
    "accounts/services.py",
    "accounts/throttle.py",
    "accounts/validation.py",
    "cronsched/core/http",
    "jobs/engine",
    "jobs/schedule.py",
    "jobs/services",
    "notifications/github_tokens.py",
    "notifications/handlers.py",
    "notifications/services",
    "notifications/unsubscribe.py",
    "taxonomy/services.py",
    "taxonomy/slugs.py",
)
# Parts of SAID that speak to operators: files read by a command, metrics, logs.
SPOKEN_TO_OPERATORS = ("jobs/engine/metrics.py", "jobs/engine/worker.py", "jobs/services/as_code")
# What is in SAID and is not shown to people: parts of the English words for a schedule, and the log's.
NOT_SAID = {
    ", every hour",
    "An aware datetime is needed; this one has no time zone.",
    "a thread has died: {', '.join(dead)}",
    # The columns of a CSV file are the contract's, in every language.
    "Cron Schedule",
    "Cron Schedule (JST)",
    "End Date",
    "GitHub Owner",
    "Job Name",
    "PIC Team",
    "Request Body",
    "Target URL",
    "Workflow Name",
    "Bearer {signed_jwt(app, now=now)}",
    "Bearer {token}",
    "cronsched/{__version__} (scheduled automation)",
    "at {last}",
    "at 1 minute past",
    "at 1 minutes past",
    "at {', '.join(head)} and {last}",
    "every hour from {min(hours)}:{minute} through {max(hours)}:{minute}",
    "next_run_at cannot be read",
    "attempt to record",
    "no tick has come to its end for {stuck_s} s",
    "no {name} has come to its end for {stuck_s} s",
    "turn of the lease",
    "only on ",
    "s were",
    "term {term.number} of {term.holder} is over",
    "{len(ids)} jobs at {slot}: some were edited meanwhile",
    "{on_day}, and only when that is {names.replace(' and ', ' or ')}",
    ", either {on_day.removeprefix(', ')} or on {names}",
    ", during the {several} of {at_hours.removeprefix('at ')}",
    "{relation.name}: what becomes of it when a run is deleted?",
}
# What is put together at other places than it stands: titles of notices, single words of sentences.
WORDS = (
    "{job} failed",
    "{job} succeeded",
    "{job} was missed",
    "{job} was paused: its end date has gone by",
    "{job} was switched off: its schedule cannot be read",
    "Category",
    "created",
    "day-of-month",
    "day-of-week",
    "deleted",
    "disabled",
    "enabled",
    "hour",
    "minute",
    "month",
    "updated",
)
KEYWORDS: dict[str, Any] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


class Found(NamedTuple):
    """A text of the code: its context (None for most), itself, its plural ("" for most), and its file."""

    context: str | None
    text: str
    plural: str
    file: str


def all_texts() -> list[Found]:
    ours = [*_marked(_our_files(), ROOT), *_templates(ROOT / "templates", ROOT)]
    folder = Path(unfold.__file__).parent
    files = [path for path in folder.rglob("*.py") if _is_used(path.relative_to(folder))]
    theirs = [*_marked(files, folder.parent), *_templates(folder / "templates", folder.parent)]
    theirs += _templates(folder / "contrib" / "filters", folder.parent)
    said = [Found(CONTEXT, text, "", file) for text, file in said_texts().items()]
    return [*ours, *_unknown_to_django(theirs), *said]


# ---- marked for gettext --------------------------------------------------------------------------


def _our_files() -> Iterator[Path]:
    for app in APPS:
        yield from (path for path in (ROOT / app).rglob("*.py") if not _is_aside(path))


def _is_aside(path: Path) -> bool:
    return bool({"tests", "testing", "migrations"} & set(path.parts))


def _is_used(path: Path) -> bool:
    """Of unfold's extensions, only its filters are installed."""
    return "contrib" not in path.parts or "filters" in path.parts


def _marked(files: Iterable[Path], above: Path) -> Iterator[Found]:
    for path in sorted(files):
        yield from _extracted(path.read_bytes(), str(path.relative_to(above)))


def _templates(folder: Path, above: Path) -> Iterator[Found]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".html", ".txt"}:
            name = str(path.relative_to(above))
            # As makemessages does: the template as a program that calls gettext. Its indents mean nothing.
            program = templatize(path.read_text(encoding="utf-8"), origin=name)
            lines = "\n".join(line.strip() for line in program.splitlines())
            yield from _extracted(lines.encode(), name)


def _extracted(source: bytes, name: str) -> Iterator[Found]:
    for _line, message, _comments, context in extract("python", BytesIO(source), keywords=KEYWORDS):
        text, plural = message if isinstance(message, tuple) else (message, "")
        if text:
            yield Found(context, text, plural, name)


def _unknown_to_django(texts: Iterable[Found]) -> Iterator[Found]:
    known: set[tuple[str | None, str]] = set()
    for name in ("conf", "contrib/admin", "contrib/auth"):
        with (DJANGO / name / "locale/ja/LC_MESSAGES/django.mo").open("rb") as file:
            known |= {(entry.context, _first(entry.id)) for entry in mofile.read_mo(file) if entry.string}
    return (found for found in texts if (found.context, found.text) not in known)


def _first(message_id: Any) -> str:
    return str(message_id if isinstance(message_id, str) else message_id[0])


# ---- said without a language ---------------------------------------------------------------------


def said_texts() -> dict[str, str]:
    """The sentences of SAID, with `{expression}` where something is put in, and where each is from."""
    texts = dict.fromkeys(WORDS, "tests/messages.py")
    for name in SAID:
        path = ROOT / name
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        for file in files:
            if not (_is_aside(file) or str(file.relative_to(ROOT)).startswith(SPOKEN_TO_OPERATORS)):
                for text in _sentences(ast.parse(file.read_text(encoding="utf-8"))):
                    texts.setdefault(text, str(file.relative_to(ROOT)))
    return texts


def _sentences(tree: ast.Module) -> Iterator[str]:
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    aside = {id(inner) for node in ast.walk(tree) for inner in _not_for_people(node)}
    for node in ast.walk(tree):
        if id(node) not in aside and isinstance(node, ast.Constant | ast.JoinedStr):
            text = _written(node, constants)
            if _is_sentence(text) and text not in NOT_SAID:
                yield text


def _not_for_people(node: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, logs, SQL, and the parts of an f-string, which counts as a whole."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if node.body and isinstance(node.body[0], ast.Expr):
            yield node.body[0].value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from [part] if isinstance(part, ast.Constant) else _format_of(part)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
        called = ast.unparse(node.func)
        if called in KEYWORDS or called.startswith(("logger.", "re.", "cursor.")):
            yield from ast.walk(node)


def _format_of(part: ast.AST) -> Iterator[ast.AST]:
    if isinstance(part, ast.FormattedValue) and part.format_spec is not None:
        yield from ast.walk(part.format_spec)


def _written(node: ast.Constant | ast.JoinedStr, constants: dict[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(_part(part, constants) for part in node.values)


def _part(part: ast.expr, constants: dict[str, str]) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    expression = ast.unparse(part.value)
    return constants.get(expression, "{" + expression.replace("{", "(").replace("}", ")") + "}")


def _is_sentence(text: str) -> bool:
    """More than one word, at least one of them written out: no key, no pattern, no log."""
    words = PLACEHOLDER.sub("", text).strip(" .,;:()").replace(",", " ").split()
    is_wordy = any(len(word) > 1 and word.isalpha() for word in words)
    return " " in text.strip() and is_wordy and "=%" not in text


# ---- the files -----------------------------------------------------------------------------------


def read_catalogue() -> Catalog:
    if not PO.exists():
        return Catalog(locale="ja", project="cronsched", fuzzy=False)
    with PO.open("rb") as file:
        return pofile.read_po(file, locale="ja")


def as_po(catalogue: Catalog) -> bytes:
    file = BytesIO()
    pofile.write_po(file, catalogue, width=0, include_lineno=False, ignore_obsolete=True, sort_output=False)
    return file.getvalue()


def as_mo(catalogue: Catalog) -> bytes:
    file = BytesIO()
    mofile.write_mo(file, catalogue)
    return file.getvalue()


def brought_up_to_date(catalogue: Catalog) -> Catalog:
    """With every text of the code, and no other; what was translated stays."""
    fresh = Catalog(locale="ja", project="cronsched", fuzzy=False, creation_date=catalogue.creation_date)
    fresh.revision_date = catalogue.revision_date
    for found in all_texts():
        message_id = (found.text, found.plural) if found.plural else found.text
        old = catalogue.get(found.text, found.context)
        entry = fresh.add(message_id, context=found.context, locations=[(found.file, 0)])
        if old is not None and old.string:
            entry.string = old.string
    return fresh


def left_to_translate(catalogue: Catalog) -> list[str]:
    return [str(entry.id) for entry in catalogue if entry.id and (not all(_strings(entry)) or entry.fuzzy)]


def _strings(entry: Any) -> list[str]:
    return list(entry.string) if isinstance(entry.string, list | tuple) else [entry.string]


def as_json(texts: Iterable[str]) -> str:
    return json.dumps(sorted(texts), ensure_ascii=False, indent=0) + "\n"


def main() -> int:
    catalogue = brought_up_to_date(read_catalogue())
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(as_po(catalogue))
    MO.write_bytes(as_mo(catalogue))
    TEMPLATES.write_text(as_json(said_texts()), encoding="utf-8")
    missing = left_to_translate(catalogue)
    sys.stdout.writelines(f"not translated: {text}\n" for text in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
