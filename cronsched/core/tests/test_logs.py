from __future__ import annotations

import logging
import sys

import pytest

from cronsched.core.logs import LineFormatter


def formatted(message: str, *args: object, exc_info: object = None) -> str:
    formatter = LineFormatter(
        "{levelname} {message}", secrets=["s3cret-token", "s3cret-token-2", "short", ""]
    )
    record = logging.LogRecord("x", logging.INFO, "x", 1, message, args, exc_info)
    return formatter.format(record)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x1b[2K", "\x85", "\u2028", "\x00"])
def test_no_name_can_pass_for_a_line_of_the_log(end):
    line = formatted("job=%s", f"a{end}INFO forged")

    assert line.splitlines() == [line]
    assert "\x1b" not in line
    assert line.startswith("INFO job=a\\")


def test_a_traceback_follows_and_its_text_is_indented():
    try:
        raise ValueError("no\nINFO forged")
    except ValueError:
        first, *rest = formatted("failed", exc_info=sys.exc_info()).splitlines()

    assert first == "INFO failed"
    assert all(line.startswith("    ") for line in rest)


def test_known_secrets_are_cut_out_of_message_and_traceback():
    try:
        raise ValueError("Bearer s3cret-token-2")
    except ValueError:
        text = formatted("called with s3cret-token in short", exc_info=sys.exc_info())

    assert "s3cret" not in text
    assert "short" in text
    assert text.count("[redacted]") == 3  # the source line shows it too
