from __future__ import annotations

from factory.declarations import LazyAttribute, SubFactory, Trait
from factory.django import DjangoModelFactory

from accounts.tests.factories import UserFactory
from jobs.tests.factories import NOON
from notifications.models import Notification


class NotificationFactory(DjangoModelFactory):
    """An unread error notice of NOON. Traits: read."""

    class Meta:
        model = Notification

    class Params:
        read = Trait(is_read=True, read_at=LazyAttribute(lambda notice: notice.created_at))

    user = SubFactory(UserFactory)
    type = "error"
    title = "Job failed"
    message = "why"
    created_at = NOON
