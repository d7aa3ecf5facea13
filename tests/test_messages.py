"""The Japanese catalogue is whole, up to date, and puts in what the English puts in."""

from __future__ import annotations

import re

import pytest

from tests import messages

OUTDATED = "run `make messages`, and translate what it lists in cronsched/locale/ja"
# %(name)s, %s and %d of gettext; {name} of format_lazy and of what is said.
PUT_IN = re.compile(r"%\(\w+\)[sd]|%[sd]|\{[^{}\"]*\}")


@pytest.fixture(scope="module")
def catalogue():
    return messages.read_catalogue()


def test_every_text_of_the_code_is_in_the_catalogue_and_nothing_else(catalogue):
    fresh = messages.brought_up_to_date(catalogue)

    texts = {(entry.context, entry.id) for entry in catalogue if entry.id}
    assert texts == {(entry.context, entry.id) for entry in fresh if entry.id}, OUTDATED


def test_every_text_is_translated(catalogue):
    assert messages.left_to_translate(catalogue) == []


def test_the_compiled_catalogue_and_the_templates_are_those_of_the_source(catalogue):
    assert messages.MO.read_bytes() == messages.as_mo(catalogue), OUTDATED
    assert messages.TEMPLATES.read_text(encoding="utf-8") == messages.as_json(messages.said_texts()), OUTDATED


def test_a_translation_puts_in_what_the_english_puts_in(catalogue):
    wrong = []
    for entry in catalogue:
        if not entry.id:
            continue
        english = entry.id[-1] if isinstance(entry.id, tuple | list) else entry.id
        japanese = entry.string[0] if isinstance(entry.string, tuple | list) else entry.string
        # Japanese has no plurals, and leaves out what is put in for them.
        needed = [part for part in PUT_IN.findall(english) if " if " not in part or part in japanese]
        if sorted(needed) != sorted(PUT_IN.findall(japanese)):
            wrong.append(english)

    assert wrong == []
