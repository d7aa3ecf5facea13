#!/usr/bin/env python
"""Django's command line for cronsched: `python manage.py help`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cronsched.settings")
    from django.core.management import execute_from_command_line

    if sys.argv[1:] in (["--version"], ["version"]):
        tell_version()
    else:
        execute_from_command_line(sys.argv)


def tell_version() -> None:
    """Django's own command tells Django's alone, and reads the settings first."""
    import django

    from cronsched import __version__

    print(f"cronsched {__version__} (Django {django.__version__}, Python {sys.version.split()[0]})")  # noqa: T201


if __name__ == "__main__":
    main()
