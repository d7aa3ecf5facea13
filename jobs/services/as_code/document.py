"""YAML files as entries that know their file and line. Pure; no database.

A date stays the text that stands there; `core_schema` says what else plain text may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from jobs.services.as_code.core_schema import CoreLoader, TooIntricate
from jobs.services.validation import RULES
from taxonomy.services import TEAM_FIELDS

SECTIONS: Final = ("categories", "teams", "jobs")
JOB_FIELDS: Final = ("category", "pic_team", "owner", *RULES)
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "categories": ("slug", "name", "is_active"),
    "teams": ("slug", "name", *TEAM_FIELDS[1:]),
    "jobs": JOB_FIELDS,
}
# What a category or a team has where the file says nothing.
TAXON_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "categories": {"is_active": True},
    "teams": {"is_active": True, "send_queue": ""},
}
_SECRETS: Final = frozenset({"signing_secret", "github_token"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong, and where: `field` is "" where no one field is at fault, `line` 0 for a whole file."""

    file: str
    line: int
    message: str
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One category, team or job of a file. `lines` says where each of its fields stands."""

    section: str
    file: str
    line: int
    data: Mapping[str, Any]
    lines: Mapping[str, int]

    @property
    def name(self) -> str:
        name = self.data.get("name")
        return name if isinstance(name, str) else ""

    def fault(self, message: str, field: str = "") -> Fault:
        return Fault(file=self.file, line=self.lines.get(field, self.line), message=message, field=field)


@dataclass(kw_only=True)
class Reading:
    """All that the files hold, and what of it cannot be read."""

    items: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def of(self, section: str) -> Iterator[Item]:
        return (item for item in self.items if item.section == section)


def read_files(texts: Iterable[tuple[str, str]]) -> Reading:
    """The entries of (name, text) of each file, in order. What is wrong with one hides none of the others."""
    reading = Reading()
    for name, text in texts:
        _File(name, reading).read(text)
    return reading


class _File:
    def __init__(self, name: str, reading: Reading) -> None:
        self.name, self.reading = name, reading

    def read(self, text: str) -> None:
        try:
            loader = CoreLoader(text)
        except yaml.YAMLError as error:
            # A character that no YAML may hold.
            self._unreadable(str(error))
            return
        try:
            while loader.check_node() and (node := loader.get_node()) is not None:
                self._document(loader, node)
        except TooIntricate as error:
            self._fault(error.line, str(error))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            self._fault(line, f"This is not YAML: {error.problem}.{_hint(error, text, line)}")
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self._unreadable(str(error))
        finally:
            self._tell_repeats(loader)
            loader.dispose()

    def _unreadable(self, reason: str) -> None:
        self._fault(0, f"This is not YAML: {' '.join(reason.split())}")

    def _tell_repeats(self, loader: CoreLoader) -> None:
        for key, line, first in loader.repeats:
            self._fault(line, f"{key} stands in line {first} already.", key)

    def _fault(self, line: int, message: str, field: str = "") -> None:
        self.reading.faults.append(Fault(file=self.name, line=line, message=message, field=field))

    def _document(self, loader: CoreLoader, node: yaml.Node) -> None:
        if isinstance(node, yaml.ScalarNode) and node.value == "":
            return
        for section, line, value in self._pairs(loader, node, "A file"):
            if section not in SECTIONS:
                self._fault(line, f'"{section}" is not known: a file holds {", ".join(SECTIONS)}.')
            elif isinstance(value, yaml.SequenceNode):
                for entry in value.value:
                    self._entry(loader, section, entry)
            elif not (isinstance(value, yaml.ScalarNode) and value.value in ("", "null", "~")):
                self._fault(line, f"{section} must be a list: each entry begins with a dash.")

    def _entry(self, loader: CoreLoader, section: str, node: yaml.Node) -> None:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, line, value in self._pairs(loader, node, f"An entry of {section}"):
            if key in _SECRETS:
                self._fault(
                    line, f"{key} does not belong in a file: set it by the API or the admin site.", key
                )
            elif key not in FIELDS[section]:
                self._fault(line, f'"{key}" is not known; {section} have: {", ".join(FIELDS[section])}.', key)
            else:
                data[key] = self._value(loader, key, line, value)
                lines[key] = line
        line = node.start_mark.line + 1
        self.reading.items.append(Item(section=section, file=self.name, line=line, data=data, lines=lines))

    def _value(self, loader: CoreLoader, key: str, line: int, node: yaml.Node) -> Any:
        value = loader.construct_object(node, deep=True)
        if fault := _not_json(value):
            self._fault(line, f"{key} holds {fault}.", key)
            return None
        return value

    def _pairs(self, loader: CoreLoader, node: yaml.Node, what: str) -> Iterator[tuple[str, int, yaml.Node]]:
        """Keys with their lines and values, own ones over merged ones; told where it is no mapping."""
        if not isinstance(node, yaml.MappingNode):
            self._fault(node.start_mark.line + 1, f"{what} must be fields with values (name: …).")
            return
        loader.flatten_mapping(node)
        # What is merged comes first there, so that the last of a key is the one that counts.
        found = {str(key.value): (key.start_mark.line + 1, value) for key, value in node.value}
        for key, (line, value) in found.items():
            yield key, line, value


def _not_json(value: Any) -> str:
    """What of a value JSON cannot carry, in words; "" for nothing."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            odd = next((key for key in item if not isinstance(key, str)), None)
            if odd is not None:
                return f"the key {odd!r}, which is no text: put it in quotes"
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif not isinstance(item, str | int | float | bool | None):
            return f"a {type(item).__name__}, which JSON does not have"
    return ""


def _hint(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.splitlines()
    said = lines[line - 1] if 0 < line <= len(lines) else ""
    if "alias" in f"{error.context} {error.problem}" or ": *" in said:
        return " A text that begins with * must be in quotes."
    return ""
