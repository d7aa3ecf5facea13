from __future__ import annotations

import pytest

from cronsched.core.text import is_readable_line


@pytest.mark.parametrize(
    ("value", "readable"),
    [
        ("夜間バックアップ 🌙", True),
        ("نسخ احتياطي \u200fx", True),
        ("👩\u200d🚀", True),
        ("two\nlines", False),
        ("a\tb", False),
        ("\x9b31m", False),
        ("a\u2028b", False),
        ("\u202eevil", False),
        ("\u2067evil", False),
    ],
)
def test_what_would_break_a_line_or_turn_it_around_is_no_name(value, readable):
    assert is_readable_line(value) is readable
