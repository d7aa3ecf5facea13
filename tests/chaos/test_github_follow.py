"""Followed runs, real scheduler processes and a stand-in GitHub: a leader is killed in the middle.

Short here; `python -m tests.chaos.github` makes the long runs whose figures stand in docs/github.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.github import dispatch_with_faults, follow_through_a_crash
from tests.chaos.harness import Schedulers, schedulers_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.smoke]


@pytest.fixture
def schedulers(tmp_path: Path) -> Iterator[Schedulers]:
    with schedulers_in(tmp_path) as made:
        yield made


@pytest.mark.smoke
def test_runs_are_followed_through_the_death_of_their_leader(schedulers: Schedulers):
    found = follow_through_a_crash(schedulers, runs=20, most_s=8)

    assert found.wrong == []
    assert found.dispatches == found.executions == 20


@pytest.mark.slow
def test_no_fault_of_a_dispatch_starts_a_second_run(schedulers: Schedulers):
    found = dispatch_with_faults(schedulers, runs=200)

    assert found.wrong == []
    assert found.doubled == 0
