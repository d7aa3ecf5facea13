"""Prints a new key for ENCRYPTION_KEYS. Nothing is stored."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet

from cronsched.management.base import ProductCommand


class Command(ProductCommand):
    help = "Print a new key for ENCRYPTION_KEYS; to rotate, put it in front of the present ones."
    # It is what one runs when the settings are not complete yet.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(Fernet.generate_key().decode())
