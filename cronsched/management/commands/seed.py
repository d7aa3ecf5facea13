"""What an installation starts with: the default categories and, where allowed, the first admin.

Safe to repeat: the categories are made once (who renamed or disabled one meant it; only `general`
always comes back), and an admin only while there is none.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from accounts.models import User
from accounts.passwords import generate_password
from accounts.services import ensure_admin
from cronsched.core import clock
from cronsched.core.errors import Conflict, DomainError
from cronsched.management.base import ProductCommand
from taxonomy.models import GENERAL, JobCategory
from taxonomy.services import create_category

CATEGORIES = {
    GENERAL: "General",
    "maintenance": "Maintenance",
    "reports": "Reports",
    "backup": "Backup",
    "monitoring": "Monitoring",
}


class Command(ProductCommand):
    help = "Create the default categories and, with ALLOW_DEFAULT_ADMIN, the first admin. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.now()
        made = seed_categories(now=now)
        if made:
            self.stdout.write(f"Categories created: {', '.join(made)}")
        if settings.ALLOW_DEFAULT_ADMIN and not User.objects.admins().exists():
            self._create_admin(now)

    def _create_admin(self, now: datetime) -> None:
        password = settings.DEFAULT_ADMIN_PASSWORD or generate_password()
        try:
            user, _ = ensure_admin(
                username=settings.DEFAULT_ADMIN_USERNAME,
                email=settings.DEFAULT_ADMIN_EMAIL,
                password=password,
                now=now,
            )
        except DomainError as error:
            raise CommandError(f"The default admin (DEFAULT_ADMIN_*): {error.message}") from None
        self.stdout.write(f"First admin: {user.username} <{user.email}>")
        if not settings.DEFAULT_ADMIN_PASSWORD:
            self.stdout.write(f"Password, shown only this once: {password}")


def seed_categories(*, now: datetime) -> list[str]:
    """Create what is missing; the slugs created."""
    wanted = [GENERAL] if JobCategory.objects.exclude(slug=GENERAL).exists() else list(CATEGORIES)
    present = set(JobCategory.objects.filter(slug__in=wanted).values_list("slug", flat=True))
    made = []
    for slug in wanted:
        if slug in present:
            continue
        try:
            create_category(name=CATEGORIES[slug], slug=slug, by=None, now=now, via="command")
        except Conflict:
            # Another process seeds at the same time, or somebody uses the name.
            continue
        made.append(slug)
    return made
