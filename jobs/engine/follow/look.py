"""Looking: followed runs in, what GitHub said of each out. Many repositories at once, no database.

Up to a few runs of one repository are asked about one by one, with the ETag of the last answer: a 304
costs nothing of the rate limit. More of them, and those whose id is not known yet, are one list, a
hundred to a page. Whatever a token's limits leave no room for is not looked at and stays due.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

from cronsched.core.http.client import HttpClient, HttpRequest, HttpResult
from jobs.engine.follow import judge, reading
from jobs.engine.follow.judge import Followed, Step
from jobs.engine.follow.limits import Limits
from jobs.engine.follow.reading import FailedJob, Place, RunSeen
from jobs.engine.messages import GitHubApp
from jobs.engine.transports import github_app
from jobs.engine.transports.base import Verdict

T = TypeVar("T")

# So many runs of one repository are cheaper to ask about one by one.
FEW: Final = 3
# GitHub lists a thousand runs at most where the list is filtered.
MOST_PAGES: Final = 10
_AT_ONCE: Final = 20
_KEPT_ANSWERS: Final = 4000
# GitHub's clock and ours; and a list that begins at a whole hour is the same question for an hour.
_SLACK: Final = timedelta(minutes=5)


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


class _NoRoom(Exception):
    """The token's limits leave no room in this turn."""


class _Unanswered(Exception):
    """No answer that says anything about the run; the text is for a person."""


class Looker:
    """Keeps the limits of the tokens, and the last answers with their ETags. For one loop."""

    def __init__(self, *, api_url: str, user_agent: str, clock: Callable[[], datetime]) -> None:
        self._api_url = api_url
        self._user_agent = user_agent
        self._clock = clock
        self._limits = Limits()
        self._answers: OrderedDict[tuple[str, str], tuple[str, Any]] = OrderedDict()

    async def look(self, client: HttpClient, groups: Sequence[Group]) -> list[Step]:
        """One turn: a step for each run that could be looked at.

        Ends that are known already come first: lists of the others would leave them no room.
        """
        steps = []
        for is_told in (True, False):
            steps += await self._wave(client, _those(groups, is_told=is_told))
        return steps

    async def _wave(self, client: HttpClient, groups: Sequence[Group]) -> list[Step]:
        seats = asyncio.Semaphore(_AT_ONCE)

        async def one(group: Group) -> list[Step]:
            async with seats:
                return await _GroupLook(self, client, group).run()

        found = await asyncio.gather(*(one(group) for group in groups))
        return [step for steps in found for step in steps]

    def paused_until(self, name: str) -> datetime | None:
        return self._limits.paused_until(name, now=self._clock())

    async def ask(
        self, client: HttpClient, name: str, request: Callable[[str], HttpRequest], read: Callable[[str], T]
    ) -> T:
        """What GitHub says to `request(etag)`, or said before where nothing has changed since."""
        if not self._limits.take(name, now=self._clock()):
            raise _NoRoom
        key = (name, request("").url)
        etag, before = self._answers.get(key, ("", None))
        result = await client.send(request(etag))
        self._limits.note(name, result, now=self._clock())
        if fault := reading.fault_of(result):
            raise _Unanswered(fault)
        if result.status == 304:
            self._answers.move_to_end(key)
            return cast(T, before)
        return self._kept(key, result, read(result.body))

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
            got = await github_app.app_token(
                group.app,
                api_url=self._api_url,
                send=client.send,
                now=self._clock(),
                user_agent=self._user_agent,
            )
            if isinstance(got, Verdict):
                raise _Unanswered(got.error_message)
            token = got.token
        if group.fault or not token:
            raise _Unanswered(group.fault or "There is no token for this repository.")
        return Place(
            api_url=self._api_url,
            owner=group.owner,
            repo=group.repo,
            token=token,
            user_agent=self._user_agent,
            name=group.name,
        )

    @property
    def now(self) -> datetime:
        return self._clock()


class _GroupLook:
    """One look at the due runs of one repository."""

    def __init__(self, looker: Looker, client: HttpClient, group: Group) -> None:
        self._looker = looker
        self._client = client
        self._group = group

    async def run(self) -> list[Step]:
        until = self._looker.paused_until(self._group.name)
        if until is not None:
            return [self._postponed(run, until) for run in self._group.runs]
        try:
            self._place = await self._looker.place(self._client, self._group)
        except _Unanswered as fault:
            return [judge.unfinished(run, error=str(fault), now=self._looker.now) for run in self._group.runs]
        told = [run for run in self._group.runs if run.is_told]
        asked = [run for run in self._group.runs if not run.is_told]
        steps = [await self._told(run) for run in told]
        is_few = len(asked) <= FEW and all(run.run_id is not None for run in asked)
        steps += [await self._alone(run) for run in asked] if is_few else await self._listed(asked)
        return [step for step in steps if step is not None]

    def _postponed(self, run: Followed, until: datetime) -> Step:
        if run.is_told:
            # The names of its failed jobs are not worth the wait.
            return judge.step(run, _known(run), [], now=self._looker.now)
        step = judge.unfinished(run, error="GitHub's rate limit is used up for now.", now=self._looker.now)
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
                place.name,
                lambda etag: reading.run_request(place, run_id, etag=etag),
                reading.read_run,
            )
        except _NoRoom:
            return None
        except _Unanswered as fault:
            return judge.unfinished(run, error=str(fault), now=self._looker.now)
        return await self._seen(run, seen) if seen is not None else None

    async def _listed(self, runs: Sequence[Followed]) -> list[Step | None]:
        try:
            listed = await self._list(runs)
        except _NoRoom:
            return []
        except _Unanswered as fault:
            return [judge.unfinished(run, error=str(fault), now=self._looker.now) for run in runs]
        by_id = {seen.run_id: seen for seen in listed}
        return [await self._match(run, by_id, listed) for run in runs]

    async def _match(
        self, run: Followed, by_id: dict[int, RunSeen], listed: Sequence[RunSeen]
    ) -> Step | None:
        if run.run_id is None:
            seen = next((one for one in listed if str(run.execution_id) in one.title), None)
            return await self._seen(run, seen) if seen else judge.missing(run, now=self._looker.now)
        seen = by_id.get(run.run_id)
        # Not among those listed: more than a thousand have come since.
        return await self._seen(run, seen) if seen else await self._alone(run)

    async def _list(self, runs: Sequence[Followed]) -> list[RunSeen]:
        """Page after page until all of these are found, or the list is at its end."""
        since = _whole_hour(min(run.dispatched_at for run in runs) - _SLACK)
        found: list[RunSeen] = []
        for page in range(1, MOST_PAGES + 1):
            got = await self._page(since, page)
            found += got
            if len(got) < reading.PER_PAGE or _has_all(runs, found):
                break
        return found

    async def _page(self, since: datetime, page: int) -> list[RunSeen]:
        place = self._place
        got = await self._looker.ask(
            self._client,
            place.name,
            lambda etag: reading.list_request(place, since, page=page, etag=etag),
            reading.read_list,
        )
        return got or []

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
        place = self._place
        return await self._looker.ask(
            self._client,
            place.name,
            lambda etag: reading.jobs_request(place, run_id),
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
    ids, titles = {seen.run_id for seen in found}, [seen.title for seen in found]
    return all(
        run.run_id in ids if run.run_id is not None else any(str(run.execution_id) in one for one in titles)
        for run in runs
    )
