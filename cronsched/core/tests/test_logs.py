from __future__ import annotations

import json
import logging
import sys

import pytest

from cronsched.core.logs import JsonFormatter, LineFormatter


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


def as_json(message: str, *args: object, exc_info: object = None) -> dict[str, str]:
    record = logging.LogRecord("jobs.engine", logging.WARNING, "x", 1, message, args, exc_info)
    (line,) = JsonFormatter(secrets=['s3cret"token']).format(record).splitlines()
    entry: dict[str, str] = json.loads(line)
    return entry


def test_as_json_each_field_of_the_message_is_one():
    entry = as_json("run ended execution=%s status=%s", "0199-ab", "failed")

    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "WARNING", "logger": "jobs.engine", "event": "run ended",
        "message": "run ended execution=0199-ab status=failed", "execution": "0199-ab", "status": "failed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "event", "fields"),
    [
        ("nothing to tell", "nothing to tell", {}),
        (
            "slow took_s=5.0 error=no such table: jobs",
            "slow",
            {"took_s": "5.0", "error": "no such table: jobs"},
        ),
        ("job=7", "job=7", {"job": "7"}),
        # What names the record cannot be forged.
        ("x level=INFO logger=other", "x", {"level": "WARNING", "logger": "jobs.engine"}),
        ("two\nlines a=1", "two\nlines", {"a": "1"}),
    ],
)
def test_json_takes_any_message(message, event, fields):
    entry = as_json(message)

    assert entry["event"] == event
    assert {name: entry[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("message", "values", "event", "fields"),
    [
        (
            "ended job=%s error=%s",
            ("7", "x status=success"),
            "ended",
            {"job": "7", "error": "x status=success"},
        ),
        ("%s were late job=%s", ("two", "7"), "two were late", {"job": "7"}),
        ("%d %% done took_s=%.1f", (50, 1.25), "50 % done", {"took_s": "1.2"}),
        ("nothing but %s", ("a=b",), "nothing but a=b", {}),
        ("peer %s job=%s", (("h", 1), "7"), "peer ('h', 1)", {"job": "7"}),
        ("tail job=%s, and more %s", ("7", "x=y"), "tail", {"job": "7"}),
    ],
)
def test_no_value_can_pass_for_a_field(message, values, event, fields):
    entry = as_json(message, *values)

    assert entry["event"] == event
    assert {
        name: entry[name] for name in entry.keys() - {"time", "level", "logger", "event", "message"}
    } == fields


def test_json_gives_no_secret_away():
    try:
        raise ValueError('s3cret"token')
    except ValueError:
        entry = as_json('refused token=s3cret"token', exc_info=sys.exc_info())

    assert "s3cret" not in json.dumps(entry)
    assert "ValueError: [redacted]" in entry["exception"]
