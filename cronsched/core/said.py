"""Sentences that are made in English, for whoever reads them in another language.

Services, the engine and rows that were stored speak English: a refusal is the same for the API, a command
and the admin site, and nobody knows who will read a run's error. So they are translated where they are
shown. The catalogue has them in the context "said", with `{…}` where something was put in; said.json lists
them (tests/messages.py finds them in the code). What matches none is shown as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from django.utils.translation import get_language, pgettext

CONTEXT = "said"
# Not `{"env": "production"}`, which is an example in a sentence.
PLACEHOLDER = re.compile(r'\{[^{}"]+\}')
TEMPLATES = Path(__file__).resolve().parent.parent / "locale" / "said.json"
SENTENCE_END = re.compile(r"(?<=[.!?]) ")
# What is put in may itself be a sentence with something put in.
DEPTH_MAX = 3


class _Template(NamedTuple):
    text: str
    placeholders: list[str]
    pattern: re.Pattern[str]


def said(text: object, depth: int = 0) -> str:
    """`text` in the language of whoever looks now."""
    language = get_language() or "en"
    return str(text) if language == "en" else _in(language, str(text), depth)


def all_said(texts: Iterable[object]) -> list[str]:
    return [said(text) for text in texts]


@lru_cache(maxsize=4096)
def _in(language: str, text: str, depth: int) -> str:
    """By the language's catalogue, which is the active one; `language` is there for the cache."""
    exact = pgettext(CONTEXT, text)
    if exact != text or depth > DEPTH_MAX:
        return exact
    for template in _templates():
        if found := template.pattern.fullmatch(text):
            translated = pgettext(CONTEXT, template.text)
            for placeholder, value in zip(template.placeholders, found.groups(), strict=True):
                translated = translated.replace(placeholder, said(value, depth + 1), 1)
            return translated
    sentences = SENTENCE_END.split(text)
    return " ".join(said(one, depth + 1) for one in sentences) if len(sentences) > 1 else text


@cache
def _templates() -> list[_Template]:
    """Those with something put in; the most telling first, by the letters that are their own."""
    texts = [text for text in json.loads(TEMPLATES.read_text(encoding="utf-8")) if PLACEHOLDER.search(text)]
    texts.sort(key=lambda text: -len(PLACEHOLDER.sub("", text)))
    return [_Template(text, PLACEHOLDER.findall(text), _pattern(text)) for text in texts]


def _pattern(text: str) -> re.Pattern[str]:
    """Of two placeholders side by side, the second is empty or begins anew: "23" and " or SUN to SAT"."""
    first, *parts = PLACEHOLDER.split(text)
    pattern = re.escape(first)
    for number, part in enumerate(parts):
        is_beside = number > 0 and parts[number - 1] == ""
        pattern += (r"((?:[ ;,(].*)?)" if is_beside else "(.*?)") + re.escape(part)
    return re.compile(pattern, re.DOTALL)
