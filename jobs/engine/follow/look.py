"""Looking: followed runs in, what GitHub said of each out. Many repositories at once, no database.

Up to a few runs of one repository are asked about one by one, with the ETag of the last answer: a 304
costs nothing of the rate limit. More of them, and those whose id is not known yet, are one list, a
hundred to a page. Whatever a token's limits leave no room for is not looked at and stays due. A turn
has an end: what is still waiting for an answer then is looked at later, so that no repository, no token
and no run holds the others up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from cronsched.core.http.client import HttpClient, HttpRequest, HttpResult
from jobs.engine.follow import judge, reading
from jobs.engine.follow.judge import Followed, Step
from jobs.engine.follow.limits import Limits
from jobs.engine.follow.reading import FailedJob, JobPage, Place, RunPage, RunSeen
from jobs.engine.messages import GitHubApp
from jobs.engine.transports import github_app
from jobs.engine.transports.base import Verdict

T = TypeVar("T")

logger = logging.getLogger(__name__)

# So many runs of one repository are cheaper to ask about one by one.
FEW: Final = 3
# GitHub lists a thousand runs at most where the list is filtered.
MOST_PAGES: Final = 10
_AT_ONCE: Final = 20
# A turn's longest; what is under way then is given up until the next.
TURN_S: Final = 15.0
# A matrix has up to 256 jobs, a workflow may have some; the names of ten are told.
_MOST_JOB_PAGES: Final = 10
# An App's token is had within a second or not at all: this long others may wait for it, once in so long.
_TOKEN_S: Final = 5.0
_TOKENLESS_FOR: Final = timedelta(seconds=30)
_KEPT_ANSWERS: Final = 4000
_KEPT_MISSING: Final = 20_000
# GitHub's clock and ours; and a list that begins at a whole hour is the same question for an hour.
_SLACK: Final = timedelta(minutes=5)
# A list from a moment on says nothing of a run whose beginning GitHub puts before that moment.
_MOST_SKEW: Final = timedelta(minutes=4)
_NOT_IN_TIME: Final = "GitHub gave no answer in time."
_NOT_LISTED: Final = (
    "GitHub lists no more than a thousand runs of a repository: whether this one is there is not known."
)
_CLOCKS_DIFFER: Final = (
    "GitHub's clock and this server's are minutes apart: whether the run is there is not known. Set the "
    "server's clock."
)
_OUR_FAULT: Final = "The look failed; the scheduler's log has the details."


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Due runs of one repository that are asked about with one token; `fault` where it cannot be read."""

    owner: str
    repo: str
    name: str
    token: str
    app: GitHubApp | None
    fault: str
    runs: tuple[Followed, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    """What was read of a repository's list of runs; `is_whole`: what is not here is not there."""

    runs: tuple[RunSeen, ...]
    is_whole: bool


class _NoRoom(Exception):
    """The token's limits leave no room in this turn."""


class _Unanswered(Exception):
    """No answer that says anything about the run; the text is for a person."""


class Looker:
    """Keeps the limits of the tokens, and the last answers with their ETags. For one loop."""

    def __init__(
        self, *, api_url: str, user_agent: str, clock: Callable[[], datetime], steady: Callable[[], float]
    ) -> None:
        self._api_url = api_url
        self._user_agent = user_agent
        self._clock = clock
        self._steady = steady
        self._limits = Limits()
        self._answers: OrderedDict[tuple[str, str], tuple[str, Any]] = OrderedDict()
        # Tokens that could not be had: until when nobody waits for them again, and why.
        self._tokenless: dict[str, tuple[datetime, str]] = {}
        # Since when a dispatch's run has not been there, by the steady clock. Who leads anew counts anew.
        self._missing_since: OrderedDict[tuple[UUID, int], float] = OrderedDict()
        self.do_clocks_agree = True

    async def look(self, client: HttpClient, groups: Sequence[Group]) -> list[Step]:
        """One turn: a step for each run that could be looked at.

        Ends that are known already come first: lists of the others would leave them no room.
        """
        until = asyncio.get_running_loop().time() + TURN_S
        steps = []
        for is_told in (True, False):
            steps += await self._wave(client, _those(groups, is_told=is_told), until)
        return steps

    async def _wave(self, client: HttpClient, groups: Sequence[Group], until: float) -> list[Step]:
        seats = asyncio.Semaphore(_AT_ONCE)
        looks = [_GroupLook(self, client, group) for group in groups]
        await asyncio.gather(*(look.run(seats, until) for look in looks))
        return [step for look in looks for step in look.steps]

    def paused_until(self, name: str) -> datetime | None:
        return self._limits.paused_until(name, now=self._clock())

    async def ask(
        self,
        client: HttpClient,
        place: Place,
        request: Callable[[str], HttpRequest],
        read: Callable[[str], T],
    ) -> T:
        """What GitHub says to `request(etag)`, or said before where nothing has changed since."""
        if not self._limits.take(place.name, now=self._clock()):
            raise _NoRoom
        key = (place.name, request("").url)
        etag, before = self._answers.get(key, ("", None))
        result = await client.send(request(etag))
        self._limits.note(place.name, result, now=self._clock())
        self._compare_clocks(result)
        if result.status == 401 and place.app is not None:
            github_app.forget(place.app, api_url=self._api_url)
        if fault := reading.fault_of(result):
            raise _Unanswered(fault)
        if result.status == 304:
            self._answers.move_to_end(key)
            return cast(T, before)
        return self._kept(key, result, read(result.body))

    def _compare_clocks(self, result: HttpResult) -> None:
        if (told_at := reading.told_at(result)) is not None:
            self.do_clocks_agree = abs(told_at - self._clock()) <= _MOST_SKEW

    def _kept(self, key: tuple[str, str], result: HttpResult, said: T) -> T:
        if said is None:
            raise _Unanswered("GitHub's answer could not be read.")
        if etag := result.headers.get("etag", ""):
            self._answers[key] = (etag, said)
            self._answers.move_to_end(key)
            if len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return said

    async def place(self, client: HttpClient, group: Group) -> Place:
        token = group.token
        if group.app is not None:
            token = await self._app_token(client, group.name, group.app)
        if group.fault or not token:
            raise _Unanswered(group.fault or "There is no token for this repository.")
        return Place(
            api_url=self._api_url,
            owner=group.owner,
            repo=group.repo,
            token=token,
            user_agent=self._user_agent,
            name=group.name,
            app=group.app,
        )

    async def _app_token(self, client: HttpClient, name: str, app: GitHubApp) -> str:
        until, why = self._tokenless.get(name, (None, ""))
        if until is not None and self._clock() < until:
            raise _Unanswered(why)
        got = await github_app.app_token(
            app,
            api_url=self._api_url,
            send=client.send,
            now=self._clock(),
            user_agent=self._user_agent,
            timeout_s=_TOKEN_S,
        )
        if isinstance(got, Verdict):
            self._tokenless[name] = (self._clock() + _TOKENLESS_FOR, got.error_message)
            raise _Unanswered(got.error_message)
        self._tokenless.pop(name, None)
        return got.token

    def missing_for(self, run: Followed) -> timedelta:
        """How long ago its run was first looked for in vain."""
        now_s = self._steady()
        since_s = self._missing_since.setdefault((run.execution_id, run.attempt), now_s)
        if len(self._missing_since) > _KEPT_MISSING:
            self._missing_since.popitem(last=False)
        return timedelta(seconds=now_s - since_s)

    def settle(self, run: Followed) -> None:
        """It is looked for no more."""
        self._missing_since.pop((run.execution_id, run.attempt), None)

    @property
    def now(self) -> datetime:
        return self._clock()


class _GroupLook:
    """One look at the due runs of one repository. `steps` holds what is known, whenever it is cut off."""

    def __init__(self, looker: Looker, client: HttpClient, group: Group) -> None:
        self.steps: list[Step] = []
        self._looker = looker
        self._client = client
        self._group = group
        self._left = {run.execution_id: run for run in group.runs}
        self._is_begun = False

    async def run(self, seats: asyncio.Semaphore, until: float) -> None:
        """Look, until that time of the loop. Raises nothing: a fault is of this group alone."""
        try:
            async with asyncio.timeout_at(until):
                await self._run(seats)
        except TimeoutError:
            # What was not begun stays due; of the others somebody else shall be first next time.
            if self._is_begun:
                self._leave(_NOT_IN_TIME)
        except Exception:
            logger.exception("follow: a look failed repository=%s/%s", self._group.owner, self._group.repo)
            self._leave(_OUR_FAULT)

    async def _run(self, seats: asyncio.Semaphore) -> None:
        until = self._looker.paused_until(self._group.name)
        if until is not None:
            for run in self._group.runs:
                self._keep(run, self._postponed(run, until))
            return
        self._is_begun = True
        try:
            # Before the seat: whoever waits for a token keeps nobody else from asking with another.
            self._place = await self._looker.place(self._client, self._group)
        except _Unanswered as fault:
            self._leave(str(fault))
            return
        self._is_begun = False
        async with seats:
            self._is_begun = True
            await self._look()

    async def _look(self) -> None:
        told = [run for run in self._group.runs if run.is_told]
        asked = [run for run in self._group.runs if not run.is_told]
        await self._each(told, self._told)
        if len(asked) <= FEW and all(run.run_id is not None for run in asked):
            await self._each(asked, self._alone)
        else:
            await self._listed(asked)

    async def _each(
        self, runs: Sequence[Followed], look: Callable[[Followed], Awaitable[Step | None]]
    ) -> None:
        """One after the other; a run that cannot be judged stops no other."""
        for run in runs:
            try:
                self._keep(run, await look(run))
            except Exception:
                logger.exception("follow: a run was passed over execution=%s", run.execution_id)
                self._keep(run, judge.unfinished(run, error=_OUR_FAULT, now=self._looker.now))

    def _keep(self, run: Followed, step: Step | None) -> None:
        """None: there was no room to ask, and it stays due."""
        self._left.pop(run.execution_id, None)
        if step is None:
            return
        if step.seen is not None or step.result is not None:
            self._looker.settle(run)
        self.steps.append(step)

    def _leave(self, fault: str) -> None:
        """Those without an answer are looked at later; of an end that is known none is needed."""
        for run in list(self._left.values()):
            try:
                self._keep(run, self._unanswered(run, fault))
            except Exception:
                logger.exception("follow: a run was passed over execution=%s", run.execution_id)

    def _unanswered(self, run: Followed, fault: str) -> Step:
        now = self._looker.now
        if run.is_told:
            # The names of its failed jobs are not worth the wait.
            return judge.step(run, _known(run), [], now=now)
        return judge.unfinished(run, error=fault, now=now)

    def _postponed(self, run: Followed, until: datetime) -> Step:
        step = self._unanswered(run, "GitHub's rate limit is used up for now.")
        return replace(step, not_before=until) if step.result is None else step

    async def _told(self, run: Followed) -> Step | None:
        """The webhook has told the end, or an earlier look that had no room for more."""
        return await self._seen(run, _known(run))

    async def _alone(self, run: Followed) -> Step | None:
        run_id, place = run.run_id, self._place
        if run_id is None:
            return None
        try:
            seen = await self._looker.ask(
                self._client,
                place,
                lambda etag: reading.run_request(place, run_id, etag=etag),
                reading.read_run,
            )
        except _NoRoom:
            return None
        except _Unanswered as fault:
            return judge.unfinished(run, error=str(fault), now=self._looker.now)
        return await self._seen(run, seen) if seen is not None else None

    async def _listed(self, runs: Sequence[Followed]) -> None:
        try:
            listed = await self._list(runs)
        except _NoRoom:
            return
        except _Unanswered as fault:
            self._leave(str(fault))
            return
        by_id = {seen.run_id: seen for seen in listed.runs}
        await self._each(runs, lambda run: self._match(run, by_id, listed))

    async def _match(self, run: Followed, by_id: dict[int, RunSeen], listed: _Listed) -> Step | None:
        if run.run_id is None:
            seen = reading.own_run(listed.runs, run.execution_id, workflow=run.workflow)
            return await self._seen(run, seen) if seen else self._not_there(run, listed)
        seen = by_id.get(run.run_id)
        # Not among those listed: more than a thousand have come since.
        return await self._seen(run, seen) if seen else await self._alone(run)

    def _not_there(self, run: Followed, listed: _Listed) -> Step:
        """That a run is not on a part of the list says nothing about it."""
        if listed.is_whole and self._looker.do_clocks_agree:
            for_long = self._looker.missing_for(run)
            return judge.missing(run, for_long=for_long, now=self._looker.now)
        why = _CLOCKS_DIFFER if listed.is_whole else _NOT_LISTED
        return judge.unfinished(run, error=why, now=self._looker.now)

    async def _list(self, runs: Sequence[Followed]) -> _Listed:
        """Page after page until all of these are found, or the list is at its end."""
        since = _whole_hour(min(run.started_at for run in runs) - _SLACK)
        found: list[RunSeen] = []
        is_readable = True
        for page in range(1, MOST_PAGES + 1):
            got = await self._page(since, page)
            found += got.runs
            is_readable = is_readable and got.is_readable
            if got.is_last:
                return _Listed(runs=tuple(found), is_whole=is_readable)
            if _has_all(runs, found):
                break
        return _Listed(runs=tuple(found), is_whole=False)

    async def _page(self, since: datetime, page: int) -> RunPage:
        place = self._place
        got = await self._looker.ask(
            self._client,
            place,
            lambda etag: reading.list_request(place, since, page=page, etag=etag),
            reading.read_list,
        )
        return got or RunPage(runs=(), is_last=True, is_readable=False)

    async def _seen(self, run: Followed, seen: RunSeen) -> Step | None:
        """Judge it; of one that ended badly, first find out where."""
        failed: list[FailedJob] = []
        is_news = seen.is_completed and seen.attempt > run.recorded_attempt
        if is_news and seen.conclusion not in judge.GOOD:
            try:
                failed = await self._failed_jobs(seen.run_id)
            except _NoRoom:
                return Step(run=run, seen=seen, is_unnamed=True, not_before=self._looker.now)
            except _Unanswered:
                # The end itself is known: it is told without the names.
                failed = []
        return judge.step(run, seen, failed, now=self._looker.now)

    async def _failed_jobs(self, run_id: int) -> list[FailedJob]:
        failed: list[FailedJob] = []
        for page in range(1, _MOST_JOB_PAGES + 1):
            got = await self._job_page(run_id, page)
            failed += got.failed
            if got.is_last:
                break
        return failed

    async def _job_page(self, run_id: int, page: int) -> JobPage:
        place = self._place
        return await self._looker.ask(
            self._client,
            place,
            lambda etag: reading.jobs_request(place, run_id, page=page),
            reading.read_failed_jobs,
        )


def _those(groups: Sequence[Group], *, is_told: bool) -> list[Group]:
    """The groups with only those runs whose end is known already, or only the others."""
    parts = [
        replace(group, runs=tuple(run for run in group.runs if run.is_told is is_told)) for group in groups
    ]
    return [group for group in parts if group.runs]


def _known(run: Followed) -> RunSeen:
    return RunSeen(
        run_id=run.run_id or 0,
        attempt=run.run_attempt,
        status=run.run_status,
        conclusion=run.conclusion,
        html_url=run.html_url,
        title="",
        updated_at=None,
    )


def _whole_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _has_all(runs: Sequence[Followed], found: Sequence[RunSeen]) -> bool:
    ids = {seen.run_id for seen in found}
    return all(
        run.run_id in ids
        if run.run_id is not None
        else reading.own_run(found, run.execution_id, workflow=run.workflow) is not None
        for run in runs
    )
