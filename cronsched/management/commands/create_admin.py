"""Makes an admin: a new user, or one who is there already."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.models import User
from accounts.passwords import generate_password
from accounts.services import ensure_admin
from cronsched.core import clock
from cronsched.core.errors import DomainError
from cronsched.core.text import name_key
from cronsched.management.base import ProductCommand


class Command(ProductCommand):
    help = "Create an active admin, or promote the user of that name. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument("--email", required=True)
        parser.add_argument(
            "--password",
            help="without it: asked for at a terminal, else generated and printed once; "
            "a user who is there keeps theirs",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        username, password = options["username"], options["password"]
        is_known = User.objects.filter(username_key=name_key(username)).exists()
        generated = None
        if password is None and not is_known:
            password = _ask() if sys.stdin.isatty() else None
            generated = None if password else generate_password()
        try:
            user, is_new = ensure_admin(
                username=username, email=options["email"], password=password or generated, now=clock.now()
            )
        except DomainError as error:
            raise CommandError(error.message) from None
        self.stdout.write(
            f"{user.username} <{user.email}> {'was created as' if is_new else 'is'} an active admin."
        )
        if generated:
            self.stdout.write(f"Password, shown only this once: {generated}")


def _ask() -> str | None:
    """A password typed twice; None, for a generated one, where Enter alone was pressed."""
    try:
        first = getpass.getpass("Password (Enter generates one): ")
        if first and getpass.getpass("Again: ") != first:
            raise CommandError("The two passwords differ; nothing was changed.")
    except (EOFError, KeyboardInterrupt):
        raise CommandError("No password was given; nothing was changed.") from None
    return first or None
