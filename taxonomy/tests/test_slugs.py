from __future__ import annotations

import re

import pytest

from taxonomy.slugs import SLUG_MAX, slug_for, slugify


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Month end", "month-end"),
        ("  R&D / Ops  ", "r-d-ops"),
        ("Café Ünïcode", "cafe-unicode"),
        ("Straße", "strasse"),
        ("ＡＢＣ１２", "abc12"),
        ("snake_case", "snake-case"),
        ("--x--", "x"),
        ("営業", ""),
        ("🚀", ""),
        ("", ""),
        ("a" * 99 + " b", "a" * 99),
    ],
)
def test_slugify_keeps_letters_digits_and_single_hyphens(text: str, slug: str) -> None:
    assert slugify(text) == slug


def test_slug_of_a_plain_name_is_the_slugified_name() -> None:
    assert slug_for("Month end", kind="category") == "month-end"


@pytest.mark.parametrize("name", ["営業", "データ 2024", "Ops 開発", "Ł", "🚀", "مبيعات", "x" * 200])
def test_slug_of_any_name_is_a_slug_and_stays_the_same(name: str) -> None:
    slug = slug_for(name, kind="team")

    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug) <= SLUG_MAX
    assert slug_for(name, kind="team") == slug


def test_slug_does_not_depend_on_case_or_composition() -> None:
    composed, decomposed = "ガÀ部", "カ\u3099A\u0300部"

    assert slug_for(composed, kind="team") == slug_for(f" {decomposed.lower()} ", kind="team")


@pytest.mark.parametrize(("one", "other"), [("営業", "開発"), ("営業1課", "開発1課"), ("Ops 東", "Ops 西")])
def test_names_that_differ_in_lost_letters_only_have_different_slugs(one: str, other: str) -> None:
    assert slug_for(one, kind="team") != slug_for(other, kind="team")


def test_made_slug_keeps_what_can_be_read() -> None:
    assert slug_for("営業", kind="team").startswith("team-")
    assert slug_for("データ Team", kind="category").startswith("team-")
