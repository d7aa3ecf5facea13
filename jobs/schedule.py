"""When a job runs: cron expressions, time zones, and the slots they give.

One evaluator answers for preview, planning and catching up, so that what preview shows is what fires.
The rules are those of Debian's cron 3.0pl1 (crontab(5), cron(8)). This module is pure: it never reads
the clock, the database or the settings; every instant comes in as an argument and leaves as aware UTC.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from cron_descriptor import ExpressionDescriptor

MAX_LENGTH = 100  # characters of an expression
MAX_ZONE_LENGTH = 64  # characters; the longest real name has 32

_HORIZON_YEARS = 50  # the rarest valid expression, 29 February on one weekday, comes after 40 at most
_FIRST_YEAR, _LAST_YEAR = 2, 9998  # a zone's offset cannot be added to the years at the very ends
TICK = timedelta.resolution
HOURS = 24
_EARLIEST, _LATEST = datetime(_FIRST_YEAR, 1, 1) - TICK, datetime(_LAST_YEAR + 1, 1, 1)  # noqa: DTZ001

# cron(8): a clock change of less than three hours is daylight saving; more is a correction of the clock.
_DAYLIGHT = timedelta(hours=3)
# In tzdata no two changes of one zone are closer than four days, so a probe this long sees each of them.
_PROBE = timedelta(days=2)


class CronError(ValueError):
    """A cron expression that cannot be used; `field` names the part at fault, "" for the whole."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ZoneError(ValueError):
    """A name that is not the name of a time zone."""


# ---------------------------------------------------------------------------------------------- grammar


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of `low` and the values after it

    @property
    def last(self) -> int:
        """The last value in its own right: weekday 7 is Sunday, as 0 is."""
        return 6 if self.name == "day-of-week" else self.high

    @property
    def span(self) -> int:
        return self.last - self.low + 1

    @property
    def allowed(self) -> str:
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"a number from {self.low} to {self.high}{names}"


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day-of-week", 0, 7, _WEEKDAYS),
)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class CronExpression:
    """A valid expression. Two with the same `text` (fields parted by one space each) are equal."""

    text: str
    # The same in the spelling the evaluator reads, and the evaluator's sets of matching values.
    _spelling: str = field(repr=False, compare=False)
    _sets: CronSim = field(repr=False, compare=False)
    # Its hours and minutes, in order.
    _ordered: tuple[tuple[int, ...], tuple[int, ...]] = field(repr=False, compare=False)

    @property
    def follows_wall_clock(self) -> bool:
        """True for a job with `*` in minute or hour: it is neither caught up nor held back when clocks
        change. The others run at fixed times, once a day each."""
        minute, hour, *_ = self.text.split()
        return minute.startswith("*") or hour.startswith("*")

    @property
    def either_day_fires(self) -> bool:
        """True where both day fields are restricted, so that a day matches by either of them. A day
        field that begins with `*` counts as unrestricted, `*/2` too: then a day must match both."""
        return not self._sets.day_and

    def matches_day(self, day: date) -> bool:
        """Say whether anything is due on this local date."""
        return day.month in self._sets.months and self._sets.match_day(day)


def parse(expression: str) -> CronExpression:
    """Read a five-field cron expression, or raise CronError with one sentence that says the way out."""
    if not isinstance(expression, str):
        raise CronError("A cron expression must be text.")
    expression = expression.strip(" \t")
    if len(expression) > MAX_LENGTH:
        raise CronError(
            f"The cron expression has {len(expression)} characters; at most {MAX_LENGTH} are allowed."
        )
    for char in expression:
        if char not in " \t" and (char.isspace() or not char.isprintable()):
            raise CronError(
                f"The cron expression contains the character U+{ord(char):04X};"
                " write it on one line, with plain spaces between the fields."
            )
    return _parse(" ".join(expression.split()))


@lru_cache(maxsize=2048)
def _parse(text: str) -> CronExpression:
    fields = text.split(" ")
    if len(fields) != len(_FIELDS) or text.startswith("@"):
        raise _misshapen(text, fields)
    spelling = " ".join(_check_field(kind, value) for kind, value in zip(_FIELDS, fields, strict=True))
    try:
        # The date plays no part: this one is kept for its sets.
        sets = CronSim(spelling, _EARLIEST)
    except CronSimError:
        # The grammar was checked above, which leaves one reason.
        raise CronError(
            f"In the day-of-month field, {_quote(fields[2])} never comes in month {_quote(fields[3])},"
            " so this would never fire; choose a day that one of the months has.",
            "day-of-month",
        ) from None
    return CronExpression(text, spelling, sets, (tuple(sorted(sets.hours)), tuple(sorted(sets.minutes))))


def _misshapen(text: str, fields: list[str]) -> CronError:
    wanted = "five fields: minute, hour, day-of-month, month and day-of-week"
    if not text:
        return CronError(f'A cron expression is needed, {wanted}, such as "0 9 * * 1-5".')
    if text.startswith("@"):
        example = _NICKNAMES.get(text.lower())
        instead = f'write "{example}"' if example else f"write {wanted}"
        return CronError(f"Nicknames such as {_quote(text)} are not supported; {instead}.")
    count = f"{len(fields)} field" + ("s" if len(fields) > 1 else "")
    return CronError(f"The cron expression has {count}; it must have exactly {wanted}.")


def _check_field(kind: _Field, value: str) -> str:
    """Return the field as the evaluator shall read it, or raise CronError."""
    return ",".join(_check_item(kind, item, value) for item in value.split(","))


def _check_item(kind: _Field, item: str, value: str) -> str:
    if not item:
        raise _refusal(kind, value, "has a comma with nothing beside it", "remove the comma")
    base, slash, step = item.partition("/")
    if slash and not (_is_number(step) and 1 <= int(step) <= kind.span):
        raise _refusal(
            kind, item, "has no usable step", f"write a step from 1 to {kind.span} after the slash"
        )
    if base == "*":
        return item
    first, dash, last = base.partition("-")
    start = _value(kind, first, item)
    stop = _value(kind, last, item) if dash else start
    if stop < start:
        named = not (_is_number(first) and _is_number(last))
        better = _unwrapped(kind, start, stop, int(step or 1), named=named)
        raise _refusal(kind, item, "runs backwards", f'write "{better}"')
    if slash and not dash:
        named = not _is_number(first)
        better = first if start > kind.last else _spell(kind, start, kind.last, int(step), named=named)
        raise _refusal(kind, item, "has a step without a range", f'write "{better}"')
    # cronsim would read 5-5/15 as 5-59/15.
    return first if start == stop else item


def _value(kind: _Field, token: str, item: str) -> int:
    if _is_number(token):
        if kind.low <= int(token) <= kind.high:
            return int(token)
        raise _refusal(kind, item, "is out of range", f"use {kind.allowed}")
    # Not by upper() alone: "ſun", with its long s, would pass for SUN.
    if token.isascii() and token.upper() in kind.names:
        return kind.names.index(token.upper()) + kind.low
    if "?" in token:
        raise _refusal(kind, item, "is not supported", 'write "*" for any value')
    raise _refusal(kind, item, "is not understood", f"use {kind.allowed}, *, ranges, lists and steps")


def _refusal(kind: _Field, text: str, fault: str, way_out: str) -> CronError:
    return CronError(f"In the {kind.name} field, {_quote(text)} {fault}; {way_out}.", kind.name)


def _is_number(token: str) -> bool:
    # isdigit() alone takes full-width and superscript digits too.
    return token.isascii() and token.isdigit()


def _quote(text: str) -> str:
    """Quote a user's text for a message: cut short, and nothing in it that does not print."""
    return '"' + repr(text[:20])[1:-1] + ("…" if len(text) > 20 else "") + '"'


def _unwrapped(kind: _Field, start: int, stop: int, step: int, *, named: bool) -> str:
    """Spell a range that wraps, such as 22-2 or FRI-MON/2, without wrapping."""
    if start > kind.last:  # weekday 7
        return _spell(kind, kind.low, stop, step, named=named)
    head = _spell(kind, start, kind.last, step, named=named)
    start = kind.low + step - 1 - (kind.last - start) % step
    return head if start > stop else f"{head},{_spell(kind, start, stop, step, named=named)}"


def _spell(kind: _Field, start: int, stop: int, step: int, *, named: bool) -> str:
    label = (lambda value: kind.names[value - kind.low]) if named else str
    if start + step > stop:
        return label(start)
    return f"{label(start)}-{label(stop)}" + (f"/{step}" if step > 1 else "")


# ------------------------------------------------------------------------------------------------ zones

_ZONE_NAME = re.compile(r"[A-Za-z][\w+-]*(/[\w+-]+){0,2}", re.ASCII)
# Files of a system's zone directory that are no IANA zones; "right" counts leap seconds.
_NO_ZONES = {"Factory", "localtime", "posix", "posixrules", "right"}


def load_zone(name: str) -> ZoneInfo:
    """Load a time zone by its IANA name, such as "Asia/Tokyo", or raise ZoneError."""
    if not isinstance(name, str) or not name:
        raise ZoneError('A time zone is needed, by its IANA name, such as "Asia/Tokyo".')
    if len(name) <= MAX_ZONE_LENGTH and _ZONE_NAME.fullmatch(name) and name.split("/")[0] not in _NO_ZONES:
        with suppress(KeyError, ValueError, OSError):  # unknown; not a zone file; a directory
            return ZoneInfo(name)
    raise ZoneError(f'The time zone {_quote(name)} is not known; use an IANA name, such as "Asia/Tokyo".')


# ------------------------------------------------------------------------------------------------ slots


def next_run(expression: str | CronExpression, *, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the first slot strictly after an aware instant, in UTC; None beyond the year 9998."""
    return next(_slots(_read(expression), zone, _to_utc(after) + TICK), None)


def next_runs(
    expression: str | CronExpression, *, zone: ZoneInfo, after: datetime, count: int
) -> list[datetime]:
    """Return the next `count` slots strictly after an aware instant, in the zone's own time."""
    slots = _slots(_read(expression), zone, _to_utc(after) + TICK)
    return [slot.astimezone(zone) for slot in islice(slots, count)]


def slots_between(
    expression: str | CronExpression, *, zone: ZoneInfo, after: datetime, until: datetime
) -> Iterator[datetime]:
    """Iterate over the slots after `after`, up to and including `until`, in UTC and in order."""
    slots = _slots(_read(expression), zone, _to_utc(after) + TICK)
    return takewhile(lambda slot: slot <= until, slots)


def minutes_between(
    expression: str | CronExpression, *, zone: ZoneInfo, first: datetime, until: datetime
) -> Iterator[datetime]:
    """Iterate over the slots from `first` to `until`, both included, in UTC and in order.

    The same as `slots_between`, read off the expression's values instead of searched for: some 5 µs for a
    job that runs once a day, so that a page can show the day of thousands. For short spans only.
    """
    cron, start, stop = _read(expression), _to_utc(first), _to_utc(until) + TICK
    previous = None
    for stretch in _stretches_from(zone, start, last_year=stop.year):
        if stretch.begin >= stop:
            return
        end = min(stop, stretch.end) + stretch.offset
        for wall in _walls_between(cron, stretch.first_wall(cron, start), end):
            slot = stretch.to_utc(wall)
            if slot != previous:
                yield slot
            previous = slot


def previous_run(expression: str | CronExpression, *, zone: ZoneInfo, at: datetime) -> datetime | None:
    """Return the last slot at or before an aware instant, in UTC; None if 50 years hold none."""
    cron, moment = _read(expression), _to_utc(at)
    for year in range(min(moment.year, _LAST_YEAR), max(moment.year - _HORIZON_YEARS, _FIRST_YEAR) - 1, -1):
        for stretch in reversed(_stretches(zone, year)):
            if stretch.begin <= moment:
                wall = _wall_before(cron, min(moment + TICK, stretch.end) + stretch.offset)
                if wall is not None and wall >= stretch.first_wall(cron, stretch.begin):
                    return stretch.to_utc(wall)
    return None


def last_slot(
    expression: str | CronExpression, *, zone: ZoneInfo, first: datetime, until: datetime
) -> datetime | None:
    """Return the last slot from `first` to `until`, both included, in UTC; None if there is none."""
    slot = previous_run(expression, zone=zone, at=until)
    return slot if slot is not None and slot >= first else None


def last_slots(
    expression: str | CronExpression, *, zone: ZoneInfo, first: datetime, until: datetime, count: int
) -> list[datetime]:
    """Return the last `count` slots from `first` to `until`, both included, in UTC and in order."""
    cron = _read(expression)
    found: list[datetime] = []
    slot = last_slot(cron, zone=zone, first=first, until=until)
    while slot is not None and len(found) < count:
        found.append(slot)
        slot = last_slot(cron, zone=zone, first=first, until=slot - TICK)
    return found[::-1]


def count_slots(expression: str | CronExpression, *, zone: ZoneInfo, first: datetime, until: datetime) -> int:
    """Count the slots from `first` to `until`, both included, without stepping through them.

    Exact. The cost grows with the number of days, not of slots: a year takes well below a millisecond
    once the zone's changes in it are known.
    """
    cron, start, stop = _read(expression), _to_utc(first), _to_utc(until) + TICK
    total = 0
    for stretch in _stretches_from(zone, start, last_year=stop.year):
        if stretch.begin >= stop:
            break
        wall, end = stretch.first_wall(cron, start), min(stop, stretch.end) + stretch.offset
        # What the gap skipped and what is due when it ends are one slot.
        joined = stretch.begin + stretch.offset + TICK
        if wall < joined:
            total += min(1, _count_walls(cron, wall, joined))
        total += _count_walls(cron, max(wall, joined), end)
    return total


def _read(expression: str | CronExpression) -> CronExpression:
    return expression if isinstance(expression, CronExpression) else parse(expression)


def _to_utc(moment: datetime) -> datetime:
    """Naive UTC, moved into the years that have slots."""
    if moment.tzinfo is None:
        raise ValueError("An aware datetime is needed; this one has no time zone.")
    # Within a day of the first or the last instant that datetime knows, the place of UTC does not matter.
    with suppress(OverflowError):
        moment = moment.astimezone(UTC)
    return min(max(moment.replace(tzinfo=None), _EARLIEST), _LATEST)


def _slots(cron: CronExpression, zone: ZoneInfo, start: datetime) -> Iterator[datetime]:
    """Yield every slot from `start` on."""
    year = max(start.year, _FIRST_YEAR)
    # Wall times: no minute from `done` to before `upcoming` matches, so that a rare job is searched for
    # once, not once for every stretch until it comes.
    done, upcoming = _LATEST, _EARLIEST
    while year <= _LAST_YEAR:
        for stretch in _stretches(zone, year):
            if stretch.end <= start:
                continue
            wall, end = stretch.first_wall(cron, start), stretch.end + stretch.offset
            if done <= wall and end <= upcoming:
                continue
            done, previous = wall, None
            for upcoming in _walls_from(cron, wall):
                if upcoming >= end:
                    break
                slot = stretch.to_utc(upcoming)
                if slot != previous:
                    yield slot
                done, previous = upcoming + TICK, slot
            else:
                return
        # A whole year without a match: no repeated hour leads back behind it.
        year = max(year + 1, upcoming.year - 1) if done.year < year else year + 1


# Below, datetimes are naive: either UTC, or "wall": what a clock on the wall shows. cronsim sees wall time
# only, where it has no daylight saving to consider; its own treatment (of zone-aware times) misses runs at
# half-hour changes, such as Lord Howe's, and catches up a whole skipped day, such as Apia's of 2011.


class _Stretch(NamedTuple):
    """A time in which a zone's clock runs evenly.

    `virtual` is the wall time from which fixed-time jobs are still to run when the stretch begins: Debian
    cron's virtualTime. After a skipped hour it is earlier than what the clock shows, in a repeated one
    later.
    """

    begin: datetime  # UTC
    end: datetime  # UTC, not included
    offset: timedelta
    virtual: datetime  # wall

    def first_wall(self, cron: CronExpression, start: datetime) -> datetime:
        """Return the wall time from which this job's minutes count, for slots from `start` on."""
        if cron.follows_wall_clock:
            return max(start, self.begin) + self.offset
        return self.virtual if start <= self.begin else max(start + self.offset, self.virtual)

    def to_utc(self, wall: datetime) -> datetime:
        """Return the instant at which the wall time's run starts; what was skipped starts at once."""
        return max(wall - self.offset, self.begin).replace(tzinfo=UTC)


def _stretches_from(zone: ZoneInfo, start: datetime, *, last_year: int) -> Iterator[_Stretch]:
    for year in range(max(start.year, _FIRST_YEAR), min(last_year, _LAST_YEAR) + 1):
        for stretch in _stretches(zone, year):
            if stretch.end > start:
                yield stretch


@lru_cache(maxsize=1024)
def _stretches(zone: ZoneInfo, year: int) -> tuple[_Stretch, ...]:
    """Return the stretches of one UTC year, cut at its ends; about 0.2 ms where not yet known."""
    new_year, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)  # noqa: DTZ001
    # An hour repeated from the last day of the year before may reach into this one.
    begin = new_year - _PROBE
    offset = _offset(zone, begin)
    virtual = begin + offset
    stretches = []
    while begin < end:
        change = min(_next_change(zone, begin), end)
        if change > new_year:
            if begin < new_year:
                begin, virtual = new_year, max(virtual, new_year + offset)
            stretches.append(_Stretch(begin, change, offset, virtual))
        # cron(8): after a small change, fixed-time jobs go on from where the clock had come to.
        reached, offset = change + offset, _offset(zone, change)
        small = -_DAYLIGHT <= change + offset - reached < _DAYLIGHT
        virtual = reached if small else change + offset
        begin = change
    return tuple(stretches)


def _next_change(zone: ZoneInfo, begin: datetime) -> datetime:
    """Return the first instant whose offset is another, or one about a year on where there is none."""
    offset = _offset(zone, begin)
    for _ in range(366 // _PROBE.days + 2):
        if _offset(zone, begin + _PROBE) != offset:
            seconds = range(int(_PROBE.total_seconds()))
            changed = bisect_left(
                seconds, True, key=lambda second: _offset(zone, begin + timedelta(seconds=second)) != offset
            )
            return begin + timedelta(seconds=changed)
        begin += _PROBE
    return begin


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return zone.fromutc(moment.replace(tzinfo=zone)).replace(tzinfo=None) - moment


def _walls_from(cron: CronExpression, start: datetime) -> Iterator[datetime]:
    """Yield the matching wall times from `start` on."""
    try:
        # cronsim drops the fraction and gives what is later.
        yield from CronSim(cron._spelling, start - TICK)
    except OverflowError:  # the end of the year 9999
        return


def _walls_between(cron: CronExpression, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the matching wall times from `start` to before `end`, by the values of the expression."""
    hours, minutes = cron._ordered
    day = start.date()
    while day <= end.date():
        if cron.matches_day(day):
            for hour in hours:
                for minute in minutes:
                    wall = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001
                    if start <= wall < end:
                        yield wall
        day += timedelta(days=1)


def _wall_before(cron: CronExpression, end: datetime) -> datetime | None:
    """Return the last matching wall time before `end`."""
    try:
        return next(CronSim(cron._spelling, end, reverse=True), None)
    except OverflowError:  # the beginning of the year 1
        return None


def _count_walls(cron: CronExpression, start: datetime, end: datetime) -> int:
    """Count the matching wall times from `start` to before `end`."""
    if start >= end:
        return 0
    days = (end.date() - start.date()).days
    matching = sum(cron.matches_day(start.date() + timedelta(days=day)) for day in range(days))
    daily = len(cron._sets.hours) * len(cron._sets.minutes)
    return matching * daily + _count_before(cron, end) - _count_before(cron, start)


def _count_before(cron: CronExpression, wall: datetime) -> int:
    """Count the matching minutes of that day before that time."""
    if not cron.matches_day(wall.date()):
        return 0
    hours, minutes = cron._sets.hours, cron._sets.minutes
    count = sum(hour < wall.hour for hour in hours) * len(minutes)
    if wall.hour in hours:
        begun = wall.minute + (wall.second > 0 or wall.microsecond > 0)
        count += sum(minute < begun for minute in minutes)
    return count


# -------------------------------------------------------------------------------------- clock changes


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockChange:
    """Clocks are set by `shift` (positive: forward) at `at`, given in the zone's own time from then on.

    `effect` is what becomes of a job then: "at_once" (what the skipped hour held runs when it ends),
    "left_out" (it does not run), "once" (only the first of the two hours counts), "again" (it runs in
    both), or "" where none of its minutes is touched.
    """

    at: datetime
    shift: timedelta
    effect: str


def next_clock_change(
    expression: str | CronExpression, *, zone: ZoneInfo, after: datetime, within: timedelta
) -> ClockChange | None:
    """Return the first clock change within that time, and what it does to this job; None without one."""
    start = _to_utc(after)
    change = _next_change(zone, start)
    shift = _offset(zone, change) - _offset(zone, change - timedelta(seconds=1))
    if not shift or change > start + within:
        return None
    cron, reached = _read(expression), change + _offset(zone, change - timedelta(seconds=1))
    at = change.replace(tzinfo=UTC).astimezone(zone)
    return ClockChange(at=at, shift=shift, effect=_effect(cron, reached, shift))


def _effect(cron: CronExpression, reached: datetime, shift: timedelta) -> str:
    """`reached` is the wall time at which the clock is set by `shift`."""
    first, last = sorted((reached, reached + shift))
    is_daylight = -_DAYLIGHT <= shift < _DAYLIGHT
    # Every hour alike, and whole hours: time goes on evenly for it, whatever the clock shows.
    is_even = len(cron._ordered[0]) == HOURS and not shift % timedelta(hours=1)
    if not is_daylight or is_even or not _count_walls(cron, first, last):
        return ""
    if shift > timedelta():
        return "left_out" if cron.follows_wall_clock else "at_once"
    return "again" if cron.follows_wall_clock else "once"


# ------------------------------------------------------------------------------------------------ words


class Values(NamedTuple):
    """What each field matches, in order; Sunday is 0. For words in other languages."""

    minutes: Sequence[int]
    hours: Sequence[int]
    days: Sequence[int]
    months: Sequence[int]
    weekdays: Sequence[int]
    either_day_fires: bool


def values_of(expression: str | CronExpression) -> Values:
    cron = _read(expression)
    sets = cron._sets
    return Values(
        minutes=sorted(sets.minutes),
        hours=sorted(sets.hours),
        days=sorted(sets.days),
        months=sorted(sets.months),
        weekdays=sorted(_weekdays(cron)),
        either_day_fires=cron.either_day_fires,
    )


def describe(expression: str | CronExpression) -> str:
    """Say in English when an expression fires: "At 09:00, Monday through Friday"."""
    return _describe(_read(expression))


def day_rule_note(expression: str | CronExpression) -> str:
    """Return a sentence of warning where both day fields are given, which few expect to mean what it
    does; else ""."""
    cron = _read(expression)
    if cron.either_day_fires:
        return "Both day fields are restricted, so this fires on every day that matches either of them."
    if "*" not in (_listed(cron._sets.days, 31), _listed(_weekdays(cron), 7)):
        return 'A day field begins with "*", so this fires only on days that match both day fields.'
    return ""


@lru_cache(maxsize=1024)
def _describe(cron: CronExpression) -> str:
    # cron_descriptor gets the values themselves, spelled plainly. Given what the user wrote, it calls */40
    # "every 40 minutes", a list of ranges one long range, and two day fields an "or" whatever their stars.
    sets = cron._sets
    month: str = _phrases(month=_listed(sets.months, 12)).get_month_description()
    text = _time_words(sets.minutes, sets.hours) + _day_words(cron) + month
    return text[0].upper() + text[1:]


def _time_words(minutes: set[int], hours: set[int]) -> str:
    every_minute, every_hour = _listed(minutes, 60, steps=True), _listed(hours, 24, steps=len(minutes) == 1)
    if len(minutes) * len(hours) <= 4:
        *head, last = (f"{hour:02}:{minute:02}" for hour in sorted(hours) for minute in sorted(minutes))
        return f"at {', '.join(head)} and {last}" if head else f"at {last}"
    if len(minutes) == 1 and re.fullmatch(r"\d+-\d+", every_hour):
        minute = min(minutes)
        return f"every hour from {min(hours):02}:{minute:02} through {max(hours):02}:{minute:02}"
    if "-" in every_hour and "," in every_hour:
        every_hour = ",".join(map(str, sorted(hours)))
    phrases = _phrases(every_minute, every_hour)
    words: str = phrases.get_time_of_day_description()
    at_hours: str = phrases.get_hours_description()
    if len(minutes) > 1 and at_hours.startswith("at "):
        several = "hours" if len(hours) > 1 else "hour"
        words = words.replace(f", {at_hours}", f", during the {several} of {at_hours.removeprefix('at ')}")
    return words.removesuffix(", every hour").replace("at 1 minutes past", "at 1 minute past")


def _day_words(cron: CronExpression) -> str:
    day, weekday = _listed(cron._sets.days, 31), _listed(_weekdays(cron), 7)
    on_day: str = _phrases(day=day).get_day_of_month_description() if day != "*" else ""
    on_weekday: str = _phrases(weekday=weekday).get_day_of_week_description()
    if cron.either_day_fires and not (on_day and on_weekday):
        return ""  # one of them, such as 1-31, takes in every day
    if not (on_day and on_weekday):
        return on_day + on_weekday
    names = on_weekday.removeprefix(", ").removeprefix("only on ")
    if cron.either_day_fires:
        return f", either {on_day.removeprefix(', ')} or on {names}"
    return f"{on_day}, and only when that is {names.replace(' and ', ' or ')}"


def _weekdays(cron: CronExpression) -> set[int]:
    days = {day % 7 for day in cron._sets.weekdays if isinstance(day, int)}
    # Saturday and Sunday, not the other way round
    return days - {0} | {7} if {0, 6} <= days else days


def _listed(values: Iterable[int], size: int, *, steps: bool = False) -> str:
    """Spell a set of values; with `steps`, as */n where that is even all around the clock."""
    ordered = sorted(values)
    if len(ordered) == size:
        return "*"
    step = size // len(ordered)
    if steps and len(ordered) > 1 and ordered == list(range(0, size, step)) and size % step == 0:
        return f"*/{step}"
    runs: list[list[int]] = []
    for value in ordered:
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _phrases(
    minute: str = "0", hour: str = "0", *, day: str = "*", month: str = "*", weekday: str = "*"
) -> ExpressionDescriptor:
    # Imported here: it takes 30 ms, and whatever only fires jobs never needs it.
    from cron_descriptor import ExpressionDescriptor, Options

    # With the locale named, or the words would follow the process's.
    options = Options(locale_code="en_US", use_24hour_time_format=True)
    return ExpressionDescriptor(f"{minute} {hour} {day} {month} {weekday}", options)
