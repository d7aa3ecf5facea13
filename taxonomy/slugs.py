"""Slugs from names. Pure: the same name gives the same slug, whatever else exists."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from cronsched.core.text import name_key

SLUG_MAX = 100
# Hexadecimal digits that tell apart names whose letters a slug cannot hold.
_DIGEST_DIGITS = 8
_SEPARATORS = re.compile("[^a-z0-9]+")


def slugify(text: str) -> str:
    """Lowercase letters, digits and single hyphens; accents go; "" where nothing is left."""
    return _SEPARATORS.sub("-", _plain(text)).strip("-")[:SLUG_MAX].rstrip("-")


def slug_for(name: str, *, kind: str) -> str:
    """A slug for any name. Where letters are lost, a digest of the name stands for them.

    "データ Team" gives `team-…`, "営業" gives `<kind>-…`: with what is left alone, two names that
    differ in their Japanese letters only would be taken for one.
    """
    slug = slugify(name)
    if slug and not _loses_letters(name):
        return slug
    digest = hashlib.sha256(name_key(name).encode()).hexdigest()[:_DIGEST_DIGITS]
    head = (slug or kind)[: SLUG_MAX - _DIGEST_DIGITS - 1].rstrip("-")
    return f"{head}-{digest}"


def _plain(text: str) -> str:
    """Without case and accents, compatibility forms as their plain ones."""
    parted = unicodedata.normalize("NFKD", name_key(text))
    return "".join(char for char in parted if not unicodedata.combining(char))


def _loses_letters(name: str) -> bool:
    plain = _plain(name)
    is_cut = len(_SEPARATORS.sub("-", plain).strip("-")) > SLUG_MAX
    return is_cut or any(char.isalnum() and not char.isascii() for char in plain)
