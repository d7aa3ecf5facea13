from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from cronsched import gunicorn_conf
from cronsched.garbage import collect_rarely


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_cycles_are_searched_rarely_but_still():
    collect_rarely()

    assert gc.isenabled()
    assert gc.get_threshold()[0] > 10_000
    assert gc.get_freeze_count() > 10_000


def test_web_workers_inherit_it():
    gunicorn_conf.when_ready(None)

    assert gc.get_freeze_count() > 10_000
