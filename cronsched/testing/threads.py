"""Doing things at once, for real: a thread and a connection for each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection

START_S, END_S = 10, 60


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run each call in its own thread from one starting line; what each returned or raised, in order.

    For tests with real transactions (`django_db(transaction=True)`).
    """
    outcomes: list[Any] = [None] * len(calls)
    line = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], Any]) -> None:
        line.wait(timeout=START_S)
        try:
            outcomes[index] = call()
        except Exception as error:
            outcomes[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=END_S)
    return outcomes
