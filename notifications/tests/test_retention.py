"""Pruning what was told long ago."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.tests.factories import UserFactory
from jobs.tests.factories import NOON
from notifications.models import Channel, Event, Message, Notification, Occasion
from notifications.outbox import first_time, make_message
from notifications.services import retention
from notifications.services.retention import prune_messages
from notifications.tests.factories import NotificationFactory

pytestmark = [pytest.mark.django_db, pytest.mark.databases]
OLD, YOUNG = NOON - timedelta(days=91), NOON - timedelta(days=89)


def test_what_is_old_goes_and_what_is_to_be_sent_stays(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    user = UserFactory()
    for moment in (OLD, YOUNG):
        NotificationFactory.create_batch(5, user=user, created_at=moment)
        first_time([str(moment)], now=moment)
        for state in ("queued", "sending", "sent", "merged", "failed"):
            message = make_message(Channel.EMAIL, "a@example.com", Event.RUN_FAILED, {}, now=moment)
            message.state = state
            message.save()

    assert list(prune_messages(now=NOON, days=90)) == [2, 2, 1, 2, 1, 1]

    assert set(Notification.objects.values_list("created_at", flat=True)) == {YOUNG}
    assert sorted(Message.objects.filter(created_at=OLD).values_list("state", flat=True)) == [
        "queued",
        "sending",
    ]
    assert Message.objects.filter(created_at=YOUNG).count() == 5
    assert Occasion.objects.count() == 1


@pytest.mark.parametrize(("days_ago", "stays"), [(8, True), (13, True), (15, False)])
def test_a_short_retention_keeps_what_is_told_once_a_week(days_ago, stays):
    first_time(["weekly_report:somebody"], now=NOON - timedelta(days=days_ago))
    NotificationFactory(created_at=NOON - timedelta(days=days_ago))

    list(prune_messages(now=NOON, days=1))

    assert Occasion.objects.exists() is stays
    assert not Notification.objects.exists()
