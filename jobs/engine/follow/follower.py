"""The thread that follows: each second what is due is looked at, and what came of it is written.

One thread and one connection for all runs, in the process that leads. It never dies of an error: what
could not be looked at or written stays due.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from cronsched.core.crypto import SecretUnreadable
from cronsched.core.http.client import HttpClient
from jobs.engine.config import EngineConfig
from jobs.engine.follow.judge import Followed, Step
from jobs.engine.follow.limits import limits_name
from jobs.engine.follow.look import Group, Looker
from jobs.engine.follow.rows import BATCH, load_due, put_off, write
from jobs.engine.github_tokens import Credential, TokenBook
from jobs.engine.lease import LeaseLost, Term
from jobs.engine.send import SenderConfig

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
# Read at once; what is beyond waits for the next turn.
MOST_DUE: Final = 2000
AFTER_FAULT_S: Final = 5.0
# The database does not answer, or will in a moment. All else that it says is about what it was given.
_AWAY: Final = (OperationalError, InterfaceError)


class Follower:
    """`run_once` does one turn; the thread calls it while this process leads (`term` tells)."""

    def __init__(
        self,
        config: EngineConfig,
        sender_config: SenderConfig,
        *,
        term: Callable[[], Term | None],
        clock: Callable[[], datetime],
        steady: Callable[[], float],
    ) -> None:
        self._config = config
        self._sender_config = sender_config
        self._term = term
        self._clock = clock
        self._looker = Looker(
            api_url=config.github_api_url, user_agent=sender_config.user_agent, clock=clock, steady=steady
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._is_database_silent = False

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """No further turn; one under way is waited for. What it did not write, a successor looks at again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            client: HttpClient | None = None
            wait_s = 0.0
            while not self._stopping.wait(wait_s):
                if client is None:
                    client = runner.run(_opened(self._sender_config.client()))
                wait_s = self._turn(runner, client)
            if client is not None:
                runner.run(client.__aexit__(None, None, None))
        connection.close()

    def _turn(self, runner: asyncio.Runner, client: HttpClient) -> float:
        """One turn of the loop; how long to wait before the next."""
        try:
            close_old_connections()
            self.run_once(runner, client)
            self._is_database_silent = False
        except LeaseLost as error:
            logger.warning("follow: %s", error)
        except DatabaseFault as error:
            if not self._is_database_silent:
                logger.warning("follow: the database refuses, runs are looked at later error=%s", error)
            self._is_database_silent = True
            connection.close()
        except Exception:
            logger.exception("follow: a turn failed")
            return AFTER_FAULT_S
        return LOOK_EVERY_S

    def run_once(self, runner: asyncio.Runner, client: HttpClient) -> int:
        """Look at what is due, if this process leads. How many runs have ended."""
        term = self._term()
        due = load_due(now=self._clock(), limit=MOST_DUE) if term is not None else []
        if term is None or not due:
            return 0
        steps = runner.run(self._looker.look(client, self._grouped(due)))
        ended = 0
        for first in range(0, len(steps), BATCH):
            ended += self._write(steps[first : first + BATCH], term)
        if ended:
            logger.info("followed due=%d looked_at=%d ended=%d", len(due), len(steps), ended)
        return ended

    def _write(self, steps: Sequence[Step], term: Term) -> int:
        """A batch; where the database refuses it for its content, run by run, so that one stops no other."""
        try:
            return write(steps, now=self._clock(), term=term)
        except (*_AWAY, LeaseLost):
            raise
        except Exception:
            logger.exception("follow: a batch was refused, writing one by one count=%d", len(steps))
        return sum(self._write_one(step, term) for step in steps)

    def _write_one(self, step: Step, term: Term) -> int:
        try:
            return write([step], now=self._clock(), term=term)
        except (*_AWAY, LeaseLost):
            raise
        except Exception:
            logger.exception("follow: a run was passed over execution=%s", step.run.execution_id)
        put_off(step.run, now=self._clock(), term=term)
        return 0

    def _grouped(self, due: Sequence[Followed]) -> list[Group]:
        """By repository and token, the longest waiting first."""
        book = TokenBook(self._config)
        runs: dict[tuple[str, str, str], list[Followed]] = defaultdict(list)
        for run in due:
            runs[run.owner, run.repo, run.own_token].append(run)
        return [_group(key, tuple(members), book) for key, members in runs.items()]


async def _opened(client: HttpClient) -> HttpClient:
    return await client.__aenter__()


def _group(key: tuple[str, str, str], runs: tuple[Followed, ...], book: TokenBook) -> Group:
    owner, repo, own_token = key
    fault = ""
    try:
        asks = Credential(name="", token=own_token) if own_token else book.find(owner, repo)
    except SecretUnreadable as error:
        asks, fault = Credential(name=""), str(error)
    return Group(
        owner=owner,
        repo=repo,
        name=limits_name(asks.token, asks.app),
        token=asks.token,
        app=asks.app,
        fault=fault,
        runs=runs,
    )
