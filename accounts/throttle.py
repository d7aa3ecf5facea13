"""Slows down whoever guesses passwords: failed sign-ins are counted per account and per address.

The counters are rows, so that every worker and host sees the same. An attempt is charged before
the password is looked at and given back when it was right, so that a hundred guesses sent at once
are a hundred. The account is counted by the name that was typed: an unknown one is throttled like
a known one, and tells nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.models import LoginFailure
from cronsched.core.api.address import address_group
from cronsched.core.db import retry_conflicts
from cronsched.core.errors import Throttled
from cronsched.core.text import name_key

WINDOW = timedelta(minutes=15)
ACCOUNT_LIMIT = 10
# Many people share the address of an office.
ADDRESS_LIMIT = 50


def charge(*, identifier: str, address: str, now: datetime) -> None:
    """Count one attempt. Throttled, with the seconds to wait, when there were too many."""
    for key, limit in ((_address_key(address), ADDRESS_LIMIT), (_account_key(identifier), ACCOUNT_LIMIT)):
        wait_s = _charge(key, limit, now)
        if wait_s is not None:
            raise Throttled(
                f"Too many failed sign-ins. Try again in {_in_words(wait_s)}.", retry_after_s=wait_s
            )


@retry_conflicts
@transaction.atomic
def forgive(*, identifier: str, address: str) -> None:
    """The password was right: forget the account's failures, and give the address its attempt back.

    The address keeps its other failures, or one's own account would wash away guesses at others.
    """
    LoginFailure.objects.filter(key=_account_key(identifier)).delete()
    LoginFailure.objects.filter(key=_address_key(address), count__gt=0).update(count=F("count") - 1)


def unlock(*, identifiers: Iterable[str]) -> int:
    """Forget the failures of accounts; how many had any."""
    return LoginFailure.objects.filter(key__in=[_account_key(name) for name in identifiers]).delete()[0]


@retry_conflicts
@transaction.atomic
def _charge(key: str, limit: int, now: datetime) -> int | None:
    """Seconds to wait when this attempt is over `limit`, else None."""
    rows = LoginFailure.objects.filter(key=key)
    if not rows.filter(resets_at__gt=now).update(count=F("count") + 1):
        _open_window(key, now)
    row = rows.get()
    return int((row.resets_at - now).total_seconds()) + 1 if row.count > limit else None


def _open_window(key: str, now: datetime) -> None:
    """Begin to count. Windows that ended go too, so the table stays as small as the trouble is."""
    LoginFailure.objects.filter(resets_at__lte=now).delete()
    try:
        with transaction.atomic():
            LoginFailure.objects.create(key=key, count=1, resets_at=now + WINDOW)
    except IntegrityError:
        LoginFailure.objects.filter(key=key).update(count=F("count") + 1)


def _account_key(identifier: str) -> str:
    return f"account:{hashlib.sha256(name_key(identifier).encode()).hexdigest()}"


def _address_key(address: str) -> str:
    return f"address:{address_group(address)}"


def _in_words(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return "a minute" if minutes == 1 else f"{minutes} minutes"
