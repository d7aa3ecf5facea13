"""Two at once, with real threads and real transactions, on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts import services, throttle
from accounts.models import User
from accounts.tests.factories import UserFactory
from cronsched.core.errors import DomainError, Throttled
from cronsched.testing.threads import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]

NOW = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)


def demote(user: User) -> Callable[[], Any]:
    return lambda: services.update_user(user, changes={"role": "user"}, by=None, now=NOW)


def delete(user: User) -> Callable[[], Any]:
    return lambda: services.delete_user(user, by=None, now=NOW)


@pytest.mark.parametrize("how", [(demote, demote), (delete, delete), (demote, delete)])
@pytest.mark.parametrize("round_", range(3))
def test_two_admins_cannot_take_each_other_away(how: tuple[Any, Any], round_: int) -> None:
    first, second = UserFactory(admin=True), UserFactory(admin=True)

    outcomes = at_once(how[0](first), how[1](second))

    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(refused) == 1
    assert isinstance(refused[0], DomainError)
    assert refused[0].message == services.LAST_ADMIN
    assert User.objects.admins().count() == 1


def test_one_of_two_gets_the_name() -> None:
    def register(n: int) -> Callable[[], Any]:
        return lambda: services.register_user(
            username="Uma", email=f"uma{n}@example.com", password="secret1", by=None, now=NOW
        )

    outcomes = at_once(*(register(n) for n in range(4)))

    errors = [outcome.error for outcome in outcomes if isinstance(outcome, DomainError)]
    assert errors == ["Username already exists"] * 3
    assert User.objects.count() == 1


def test_guesses_sent_at_once_are_all_counted() -> None:
    limit = throttle.ACCOUNT_LIMIT
    outcomes = at_once(
        *(
            lambda n=n: throttle.charge(identifier="uma", address=f"198.51.100.{n}", now=NOW)
            for n in range(limit + 5)
        )
    )

    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Throttled] * 5
