from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from accounts import throttle
from accounts.models import LoginFailure
from accounts.throttle import ACCOUNT_LIMIT, ADDRESS_LIMIT, WINDOW, charge, forgive
from cronsched.core.errors import Throttled

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)
HERE = "203.0.113.9"


def attempt(identifier: str = "uma", address: str = HERE, now: datetime = NOW) -> bool:
    """Whether the attempt is let through to the password."""
    try:
        charge(identifier=identifier, address=address, now=now)
    except Throttled:
        return False
    return True


def test_an_account_is_closed_after_its_limit_from_whatever_address() -> None:
    allowed = [attempt(address=f"198.51.100.{n}") for n in range(ACCOUNT_LIMIT + 2)]

    assert allowed == [True] * ACCOUNT_LIMIT + [False, False]


def test_an_address_is_closed_after_its_limit_whatever_the_account() -> None:
    allowed = [attempt(f"user{n}") for n in range(ADDRESS_LIMIT + 1)]

    assert allowed == [True] * ADDRESS_LIMIT + [False]
    assert attempt("user0", address="198.51.100.7") is True


def test_the_spelling_of_a_name_does_not_matter() -> None:
    for n in range(ACCOUNT_LIMIT):
        attempt("Uma" if n % 2 else " UMA ")

    assert attempt("uma") is False
    assert attempt("umar") is True


def test_the_refusal_says_when_to_come_back() -> None:
    for _ in range(ACCOUNT_LIMIT):
        attempt()

    with pytest.raises(Throttled) as refusal:
        charge(identifier="uma", address=HERE, now=NOW + timedelta(minutes=5, milliseconds=500))
    assert refusal.value.retry_after_s == 600
    assert refusal.value.message == "Too many failed sign-ins. Try again in 10 minutes."
    with pytest.raises(Throttled, match="in a minute"):
        charge(identifier="uma", address=HERE, now=NOW + timedelta(minutes=14, seconds=59))


def test_trying_on_does_not_keep_the_door_shut() -> None:
    for n in range(40):
        attempt(now=NOW + n * WINDOW / 40)

    assert attempt(now=NOW + WINDOW - timedelta(seconds=1)) is False
    assert attempt(now=NOW + WINDOW) is True


def test_a_right_password_forgives_the_account_and_only_its_own_attempt_at_the_address() -> None:
    for _ in range(5):
        attempt("other")
    for _ in range(ACCOUNT_LIMIT):
        attempt()
    forgive(identifier="uma", address=HERE)

    assert attempt() is True
    address = LoginFailure.objects.get(key=f"address:{HERE}")
    assert address.count == 5 + ACCOUNT_LIMIT


def test_forgiving_what_was_never_charged_does_no_harm() -> None:
    forgive(identifier="uma", address=HERE)

    assert not LoginFailure.objects.exists()


def test_ended_windows_are_swept_away() -> None:
    for n in range(5):
        attempt(f"user{n}", address=f"198.51.100.{n}")
    attempt("late", now=NOW + WINDOW)

    assert LoginFailure.objects.count() == 2


def test_who_loses_the_race_to_open_a_window_is_counted() -> None:
    attempt()
    key = f"address:{HERE}"

    throttle._open_window(key, NOW)

    assert LoginFailure.objects.get(key=key).count == 2


@pytest.mark.parametrize("identifier", ["", "x" * 100_000, "日本語", "a\tb"])
def test_any_name_can_be_counted(identifier: str) -> None:
    assert [attempt(identifier) for _ in range(ACCOUNT_LIMIT + 1)][-1] is False
