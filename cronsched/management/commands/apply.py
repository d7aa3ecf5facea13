"""Jobs as text in git: bring about what YAML files say. docs/as-code.md is the whole way."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from accounts.models import User
from cronsched.core import clock
from cronsched.management.base import ProductCommand, counted
from jobs.services.as_code.apply import Order, Plan, Prune, Sign, Step, apply_files
from jobs.services.as_code.document import read_files

CHANGES: Final = 2
_SUFFIXES: Final = (".yaml", ".yml")
_SET_NAME: Final = re.compile(r"[A-Za-z0-9._/-]{1,100}")
_SHOWN_CHARS: Final = 200


class Command(ProductCommand):
    help = (
        "Create and change categories, teams and jobs as YAML files say, all or nothing. Exits with 1 where "
        "something is wrong, each fault with its file, line and field."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "files", nargs="+", metavar="FILE", help="YAML, or a folder of it, or - for standard input"
        )
        parser.add_argument("--dry-run", action="store_true", help="show the plan, store nothing")
        parser.add_argument(
            "--prune",
            nargs="?",
            type=Prune,
            choices=[Prune.DELETE, Prune.PAUSE],
            const=Prune.DELETE,
            default=Prune.NO,
            help="also delete jobs of this set that no file names any more, with their history; "
            "=pause keeps them, paused",
        )
        parser.add_argument(
            "--set",
            default="default",
            metavar="NAME",
            help="whose jobs these are: each repository that applies has a set of its own (default: default)",
        )
        parser.add_argument(
            "--as",
            dest="user",
            metavar="USER",
            help="with the rights of this user; without it, with all rights",
        )
        parser.add_argument(
            "--detailed-exitcode", action="store_true", help=f"exit with {CHANGES} where there are changes"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not _SET_NAME.fullmatch(options["set"]):
            raise CommandError("--set: 1 to 100 letters, digits, dots, slashes and hyphens.")
        order = Order(
            by=_find_user(options["user"]) if options["user"] is not None else None,
            now=clock.now(),
            set_name=options["set"],
            prune=options["prune"],
            dry_run=options["dry_run"],
        )
        plan = apply_files(read_files(_texts(options["files"])), order)
        if plan.faults:
            for fault in sorted(plan.faults, key=lambda fault: (fault.file, fault.line)):
                self.stderr.write(str(fault))
            raise CommandError(f"{counted(len(plan.faults), 'fault')}: nothing was stored.")
        self._show(plan, order)
        if plan.steps and options["detailed_exitcode"]:
            sys.exit(CHANGES)

    def _show(self, plan: Plan, order: Order) -> None:
        for step in plan.steps:
            self.stdout.write(_headline(step))
            for field, (old, new) in step.changes.items():
                before = "" if step.sign is Sign.CREATE else f"{_value(old)} → "
                self.stdout.write(f"      {field}: {before}{_value(new)}")
        parts = (
            (plan.count(Sign.CREATE), "create", "created"),
            (plan.count(Sign.CHANGE), "change", "changed"),
            (plan.count(Sign.PRUNE), "prune", "pruned"),
        )
        told = ", ".join(
            f"{count} {f'to {plain}' if order.dry_run else done}" for count, plain, done in parts
        )
        head = "Plan (dry run, nothing was stored)" if order.dry_run else "Applied"
        self.stdout.write(f"{head}: {told}; {plan.unchanged} unchanged.")


def _headline(step: Step) -> str:
    extra = " ".join(part for part in (f"({step.place})" if step.place else "", step.note) if part)
    return f'  {step.sign} {step.what} "{step.name}" {extra}'.rstrip()


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _find_user(identifier: str) -> User:
    user = User.objects.active().identified_by(identifier).first()
    if user is None:
        raise CommandError(f'--as: there is no active user "{identifier}".')
    return user


def _texts(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == "-":
            yield "standard input", sys.stdin.read()
            continue
        for path in _paths(Path(name)):
            try:
                yield str(path), path.read_text(encoding="utf-8-sig")
            except OSError as error:
                raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
            except UnicodeDecodeError:
                raise CommandError(f"{path} is not UTF-8.") from None


def _paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not found:
        # With --prune, an empty folder would take everything away.
        raise CommandError(f"{path} holds no .yaml or .yml file.")
    return found
