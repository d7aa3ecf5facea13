"""Jobs as a file that `import_jobs` (CSV) or `apply` (YAML) takes back without a change."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, CommandParser

from cronsched.management.base import ProductCommand, counted
from jobs.models import Job
from jobs.services.as_code.export import yaml_lines
from jobs.services.bulk_upload.export import csv_lines


class Command(ProductCommand):
    help = "Write all jobs as CSV, or with teams and categories as YAML, to standard output or a file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["csv", "yaml"], default="csv")
        parser.add_argument("--output", metavar="FILE", help="write to this file in place of standard output")
        parser.add_argument(
            "--bom", action="store_true", help="begin with a byte order mark, so that Excel reads it as UTF-8"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        lines = (yaml_lines if options["format"] == "yaml" else csv_lines)(Job.objects.all())
        progress = self.progress("Exported", Job.objects.count())
        # On a terminal that shows the rows themselves, nobody wants to see them counted.
        is_watched = bool(options["output"]) or not self.stdout.isatty()
        mark = "\ufeff" if options["bom"] else ""
        try:
            with self._target(options["output"]) as target:
                target.write(mark + next(lines))
                for line in lines:
                    target.write(line)
                    progress.add(is_shown=is_watched)
                target.flush()
        except BrokenPipeError:
            # Whoever reads has seen enough (`| head`). Python would complain once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        progress.end()
        if options["output"]:
            done = counted(progress.done, "job")
            self.stderr.write(f"{done} written to {options['output']}.", lambda text: text)

    @contextlib.contextmanager
    def _target(self, path: str | None) -> Iterator[TextIO]:
        if path is None:
            stream: Any = self.stdout._out
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", newline="")
            yield stream
            return
        # Whole or not at all: what is there already is replaced when the new one is complete.
        final = Path(path)
        draft = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            with draft.open("x", encoding="utf-8", newline="") as file:
                yield file
            draft.replace(final)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        finally:
            draft.unlink(missing_ok=True)
