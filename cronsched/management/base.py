"""What the product's commands share: one clear line and a non-zero exit where something is refused,
and a sign of life where something takes long."""

from __future__ import annotations

import math
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DatabaseError

from cronsched.core.errors import DomainError

# Seconds between two signs of life: on a terminal one line is rewritten, in a log each is a line more.
_TERMINAL_S = 0.2
_LOG_S = 10.0


class ProductCommand(BaseCommand):
    """Refusals of services, of the parser and of the database are one line each."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        # argparse would print the whole usage above what was wrong; --help still shows it.
        parser.print_usage = lambda file=None: None  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except DomainError as error:
            raise CommandError(error.message) from None
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"The database does not answer as it should: {reason}") from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was done so far stays done.", returncode=130) from None

    def progress(self, what: str, total: int | None = None) -> Progress:
        return Progress(self.stderr, what, total)


class Progress:
    """Counts on stderr. Quick work shows nothing; a test or a pipe sees at most a line in ten seconds."""

    def __init__(self, stream: OutputWrapper, what: str, total: int | None) -> None:
        self._stream, self._what, self._total = stream, what, total
        self._is_terminal = stream.isatty()
        self._every_s = _TERMINAL_S if self._is_terminal else _LOG_S
        self._shown_at = time.monotonic()
        self._width = 0
        self.done = 0

    def add(self, count: int = 1, *, is_shown: bool = True) -> None:
        self.done += count
        if is_shown and time.monotonic() - self._shown_at >= self._every_s:
            self._shown_at = time.monotonic()
            self._show(f"{self._what}: {self.done}{f' of {self._total}' if self._total else ''}")

    def end(self) -> None:
        """Leave the terminal's line free for what comes next."""
        if self._width:
            self._write(f"\r{' ' * self._width}\r", ending="")
            self._width = 0

    def _show(self, text: str) -> None:
        if self._is_terminal:
            self._write(f"\r{text:<{self._width}}", ending="")
            self._width = len(text)
        else:
            self._write(text)

    def _write(self, text: str, **kwargs: Any) -> None:
        # Without the red that stderr has for errors.
        self._stream.write(text, lambda plain: plain, **kwargs)
        self._stream.flush()


def counted(count: int, what: str) -> str:
    """ "1 job", "2 jobs"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def seconds(text: str) -> float:
    """An argument's type: a number of seconds from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"{text!r} is no number of seconds (0 or more)")
    return value
