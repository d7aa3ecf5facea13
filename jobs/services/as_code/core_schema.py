"""YAML as files of jobs are read: by the core schema of YAML 1.2, within bounds, each key once. Pure.

PyYAML reads YAML 1.1, where `no` is false, `12:30` is 750 and `010` is 8. Here plain text becomes a number,
true, false or null only where YAML 1.2 says so (section 10.3.2); all else stays the text that is written.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError

# Entries stand three levels deep, and their metadata may have 64 more.
DEPTH_MAX: Final = 100
# What aliases and merge keys may add to what is written. A thousand jobs that share twenty fields add 41,000.
ADDED_MAX: Final = 500_000

_TAG: Final = "tag:yaml.org,2002:"
MERGE: Final = f"{_TAG}merge"
# Kind -> what is of it, and how such a text may begin.
IMPLICIT: Final = {
    "null": (re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), list("-+0123456789")),
    "float": (
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        list("-+.0123456789"),
    ),
}


def add_resolvers(to: Any) -> None:
    """Let a loader or a dumper know the kinds of plain text."""
    for kind, (pattern, first) in IMPLICIT.items():
        to.add_implicit_resolver(f"{_TAG}{kind}", re.compile(rf"(?:{pattern.pattern})\Z"), first)


class TooIntricate(ValueError):
    """What would take long to build, however short it is written; `line` is where that is."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem)
        self.line = mark.line + 1


class CoreLoader(yaml.SafeLoader):
    """Composes documents; `repeats` are the keys that stand twice in one mapping: (key, line, first line).

    Raises TooIntricate for what is beyond the bounds, or holds itself.
    """

    yaml_implicit_resolvers: Any = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeats: list[tuple[str, int, int]] = []
        self._depth = self._added = 0
        # What each node comes to with its aliases written out. One that is still open has no size yet.
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise TooIntricate(f"It is nested more than {DEPTH_MAX} levels deep.", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias:
            self._count_alias(node, mark)
        else:
            self._sizes[node] = 1 + sum(self._sizes[child] for child in _children(node))
        return node

    def _count_alias(self, node: yaml.Node, mark: yaml.Mark) -> None:
        if node not in self._sizes:
            raise TooIntricate("An alias stands inside of what it names.", mark)
        self._added += self._sizes[node]
        if self._added > ADDED_MAX:
            raise TooIntricate("Its aliases come to too much: write some of it out, or part the file.", mark)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As it is written: `flatten_mapping` puts merged keys among its own later."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                line = key.start_mark.line + 1
                if key.value in lines:
                    self.repeats.append((key.value, line, lines[key.value]))
                lines.setdefault(key.value, line)
        return node

    def construct_kind(self, node: yaml.ScalarNode) -> Any:
        """A value of one of the kinds; a tag may claim one that the text is not."""
        kind = node.tag.removeprefix(_TAG)
        text = str(self.construct_scalar(node))
        if not IMPLICIT[kind][0].fullmatch(text):
            raise ConstructorError(None, None, f'"{text[:60]}" is no {kind}', node.start_mark)
        return _VALUES[kind](text)

    def construct_time(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _whole(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _real(text: str) -> float:
    # `.inf` and `.nan` are YAML's spellings.
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_VALUES: Final[dict[str, Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _whole,
    "float": _real,
}

add_resolvers(CoreLoader)
CoreLoader.add_implicit_resolver(MERGE, re.compile(r"<<\Z"), ["<"])
for _kind in IMPLICIT:
    CoreLoader.add_constructor(f"{_TAG}{_kind}", CoreLoader.construct_kind)
# JSON has no times: what a tag calls one is text, too.
CoreLoader.add_constructor(f"{_TAG}timestamp", CoreLoader.construct_time)
