from __future__ import annotations

import ast
import random
import struct
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from inspect import getsource
from io import BytesIO
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from jobs import schedule
from jobs.schedule import CronError, ZoneError

TOKYO = ZoneInfo("Asia/Tokyo")
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
HAVANA = ZoneInfo("America/Havana")
APIA = ZoneInfo("Pacific/Apia")
CASEY = ZoneInfo("Antarctica/Casey")
TROLL = ZoneInfo("Antarctica/Troll")
SECOND = timedelta(seconds=1)
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots(expression: str, zone: ZoneInfo, after: str, hours: float) -> list[str]:
    """The slots of some hours in UTC, as "day hour:minute"."""
    until = utc(after) + timedelta(hours=hours)
    found = schedule.slots_between(expression, zone=zone, after=utc(after), until=until)
    return [f"{slot:%d %H:%M}" for slot in found]


def stepped(expression: str, zone: ZoneInfo, first: datetime, until: datetime) -> list[datetime]:
    """The slots in [first, until], one call of next_run for each."""
    found = []
    slot = schedule.next_run(expression, zone=zone, after=first - timedelta.resolution)
    while slot is not None and slot <= until:
        found.append(slot)
        slot = schedule.next_run(expression, zone=zone, after=slot)
    return found


# ---------------------------------------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "*/5 * * * *",
        "0 9 * * 1-5",
        "0 9 * * MON-FRI",
        "0 9 * * mon,Wed,fRi",
        "0 9 1 JAN-MAR,dec *",
        "0 0 * * 0",
        "0 0 * * 7",
        "0 0 * * 5-7",
        "0 0 * * 0-7",
        "00 09 01 01 00",
        "5-59/15 22-23,0-2 1,15 */3 */2",
        "*/60 */24 */31 */12 */7",
        "*,5 *,5 *,5 *,5 *,5",
        "0 0 29 2 *",
        "0 0 29 2 */7",
        "0 0 31 4,5 *",
        "0 0 30 2 1",  # either day field: Mondays of February
        "5-5/15 * * * *",
        "59-59 23-23 31-31 12-12 7-7",
    ],
)
def test_parse_takes_what_cron_takes(expression):
    cron = schedule.parse(expression)

    assert cron.text == expression
    assert schedule.next_run(cron, zone=TOKYO, after=NOON) is not None


@pytest.mark.parametrize(
    ("expression", "field", "words"),
    [
        ("", "", 'needed, five fields: minute, hour, day-of-month, month and day-of-week, such as "0 9'),
        ("  \t ", "", "needed, five fields"),
        ("*", "", "has 1 field; it must have exactly five fields"),
        ("* * * *", "", "has 4 fields"),
        ("0 0 9 * * 1", "", "has 6 fields"),
        ("0 9 * * 1 2027", "", "has 6 fields"),
        ("@reboot", "", '"@reboot" are not supported; write five fields: minute, hour'),
        ("@daily", "", '"@daily" are not supported; write "0 0 * * *"'),
        ("@Hourly", "", 'write "0 * * * *"'),
        ("@every 5 m * *", "", "Nicknames"),
        ("0 9 * * 1-5\n", "", "U+000A; write it on one line"),
        ("0 9 * * 1-5\n0 10 * * *", "", "U+000A"),
        ("0 9 * *\r* 1", "", "U+000D"),
        ("0 9 * * 1\x00", "", "U+0000"),
        ("0\u30009 * * 1", "", "U+3000; write it on one line, with plain spaces"),
        ("0\u00a09 * * 1", "", "U+00A0"),
        ("0 9 * * \ud800", "", "U+D800"),
        ("1" * 101, "", "has 101 characters; at most 100 are allowed"),
        ("* " * 5_000_000, "", "has 9999999 characters"),
        ("60 * * * *", "minute", 'minute field, "60" is out of range; use a number from 0 to 59'),
        ("* 24 * * *", "hour", 'hour field, "24" is out of range; use a number from 0 to 23'),
        ("* * 0 * *", "day-of-month", 'day-of-month field, "0" is out of range; use a number from 1 to 31'),
        ("* * 1-32 * *", "day-of-month", '"1-32" is out of range'),
        ("* * * 13 *", "month", '"13" is out of range; use a number from 1 to 12 or JAN to DEC'),
        ("* * * * 8", "day-of-week", '"8" is out of range; use a number from 0 to 7 or SUN to SAT'),
        ("9" * 90 + " * * * *", "minute", '"99999999999999999999…" is out of range'),
        ("-1 * * * *", "minute", '"-1" is not understood; use a number from 0 to 59, *, ranges'),
        ("1- * * * *", "minute", '"1-" is not understood'),
        ("1-2-3 * * * *", "minute", '"1-2-3" is not understood'),
        ("*-5 * * * *", "minute", '"*-5" is not understood'),
        ("** * * * *", "minute", '"**" is not understood'),
        ("+5 * * * *", "minute", '"+5" is not understood'),
        ("1_0 * * * *", "minute", '"1_0" is not understood'),
        ("1.5 * * * *", "minute", '"1.5" is not understood'),
        ("５ * * * *", "minute", '"５" is not understood'),
        ("² * * * *", "minute", '"²" is not understood'),
        ("MON * * * *", "minute", '"MON" is not understood; use a number from 0 to 59'),
        ("* * * MON *", "month", '"MON" is not understood; use a number from 1 to 12 or JAN to DEC'),
        ("* * * * JAN", "day-of-week", '"JAN" is not understood'),
        ("* * * * MONDAY", "day-of-week", '"MONDAY" is not understood; use a number from 0 to 7 or SUN'),
        ("* * * * ſun", "day-of-week", '"ſun" is not understood'),
        ("* * L * *", "day-of-month", '"L" is not understood'),
        ("* * LW * *", "day-of-month", '"LW" is not understood'),
        ("* * 15W * *", "day-of-month", '"15W" is not understood'),
        ("* * * * 5L", "day-of-week", '"5L" is not understood'),
        ("* * * * 1#2", "day-of-week", '"1#2" is not understood'),
        ("* * ? * *", "day-of-month", '"?" is not supported; write "*"'),
        ("R * * * *", "minute", '"R" is not understood'),
        ("R(0-10) * * * *", "minute", '"R(0-10)" is not understood'),
        ("H H * * *", "minute", '"H" is not understood'),
        ("0~30 * * * *", "minute", '"0~30" is not understood'),
        ("1,,2 * * * *", "minute", '"1,,2" has a comma with nothing beside it; remove the comma'),
        ("* ,1 * * *", "hour", '",1" has a comma'),
        ("* 1, * * *", "hour", '"1," has a comma'),
        ("*/0 * * * *", "minute", '"*/0" has no usable step; write a step from 1 to 60 after the slash'),
        ("*/61 * * * *", "minute", '"*/61" has no usable step'),
        ("* */25 * * *", "hour", "a step from 1 to 24"),
        ("* * */32 * *", "day-of-month", "a step from 1 to 31"),
        ("* * * */13 *", "month", "a step from 1 to 12"),
        ("* * * * */8", "day-of-week", "a step from 1 to 7"),
        ("*/ * * * *", "minute", '"*/" has no usable step'),
        ("*/-5 * * * *", "minute", '"*/-5" has no usable step'),
        ("*/5/5 * * * *", "minute", '"*/5/5" has no usable step'),
        ("/5 * * * *", "minute", '"/5" is not understood'),
        ("5/15 * * * *", "minute", '"5/15" has a step without a range; write "5-59/15"'),
        ("50/15 * * * *", "minute", 'write "50"'),
        ("* * * MAR/3 *", "month", 'write "MAR-DEC/3"'),
        ("* * * * 7/2", "day-of-week", 'write "7"'),
        ("* 22-2 * * *", "hour", 'hour field, "22-2" runs backwards; write "22-23,0-2"'),
        ("* 22-2/3 * * *", "hour", 'write "22,1"'),
        ("* * * NOV-FEB *", "month", 'write "NOV-DEC,JAN-FEB"'),
        ("* * * * FRI-MON", "day-of-week", 'write "FRI-SAT,SUN-MON"'),
        ("* * * * fri-sun", "day-of-week", 'write "FRI-SAT,SUN"'),
        ("* * * * 7-2", "day-of-week", 'write "0-2"'),
        (
            "0 0 30 2 *",
            "day-of-month",
            '"30" never comes in month "2", so this would never fire; choose a day',
        ),
        ("0 0 31 4,6 *", "day-of-month", '"31" never comes in month "4,6"'),
        ("0 0 30-31 FEB */2", "day-of-month", '"30-31" never comes in month "FEB"'),
        (None, "", "must be text"),
        (["* * * * *"], "", "must be text"),
    ],
)
def test_parse_refuses_with_the_field_and_the_way_out(expression, field, words):
    with pytest.raises(CronError) as caught:
        schedule.parse(expression)

    message = str(caught.value)
    assert words in message
    assert caught.value.field == field
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>\x1b[31m</b>", "U+001B"),
        ("\u202egnp", "U+202E"),
        ("x" * 90, '"xxxxxxxxxxxxxxxxxxxx…"'),
        ("\\", '"\\\\"'),
    ],
)
def test_messages_cut_and_escape_what_the_user_wrote(text, shown):
    with pytest.raises(CronError) as caught:
        schedule.parse(f"{text} * * * *")

    assert shown in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


def test_parse_keeps_the_text_with_single_spaces():
    cron = schedule.parse(" \t0  9 *\t*  mon-fri ")

    assert cron.text == "0 9 * * mon-fri"
    assert cron == schedule.parse("0 9 * * mon-fri")
    assert cron != schedule.parse("0 9 * * MON-FRI")
    assert hash(cron) == hash(schedule.parse("0 9 * * mon-fri"))
    assert repr(cron) == "CronExpression(text='0 9 * * mon-fri')"


def test_expressions_are_frozen_and_kept_in_a_bounded_cache():
    cron = schedule.parse("0 9 * * *")

    assert schedule.parse("0  9 * * *") is cron
    assert schedule._parse.cache_info().maxsize is not None
    with pytest.raises(FrozenInstanceError):
        cron.text = "* * * * *"  # type: ignore[misc]


def wrapped_values(low: int, last: int, start: int, stop: int, step: int) -> set[int]:
    around = [*range(low, last + 1)] * 2
    begin = around.index(start)
    return set(around[begin : around.index(stop, begin) + 1][::step])


@pytest.mark.parametrize(
    ("position", "low", "last", "names"),
    [
        (0, 0, 59, None),
        (1, 0, 23, None),
        (2, 1, 31, None),
        (3, 1, 12, schedule._MONTHS),
        (4, 0, 6, None),
        (4, 0, 6, schedule._WEEKDAYS),
    ],
)
def test_every_spelling_suggested_for_a_wrapping_range_means_that_range(position, low, last, names):
    for start in range(low + 1, last + 1):
        for stop in range(low, start, 7 if last > 31 else 1):
            for step in (1, 2, 3, last - low + 1):
                first, final = (names[v - low] if names else v for v in (start, stop))
                suggested = suggestion(position, f"{first}-{final}" + (f"/{step}" if step > 1 else ""))
                assert values(position, suggested) == wrapped_values(low, last, start, stop, step)


@pytest.mark.parametrize(
    ("position", "low", "last"), [(0, 0, 59), (1, 0, 23), (2, 1, 31), (3, 1, 12), (4, 0, 6)]
)
def test_every_spelling_suggested_for_a_step_without_a_range_counts_to_the_end(position, low, last):
    for start in range(low, last + 1):
        for step in range(1, last - low + 2):
            suggested = suggestion(position, f"{start}/{step}")
            assert values(position, suggested) == set(range(start, last + 1, step))


def with_field(position: int, text: str) -> str:
    fields = ["*"] * 5
    fields[position] = text
    return " ".join(fields)


def suggestion(position: int, text: str) -> str:
    with pytest.raises(CronError) as caught:
        schedule.parse(with_field(position, text))
    return str(caught.value).split('write "')[1].removesuffix('".')


def values(position: int, text: str) -> set[int]:
    sets = schedule.parse(with_field(position, text))._sets
    weekdays = {day % 7 for day in sets.weekdays if isinstance(day, int)}
    return [sets.minutes, sets.hours, sets.days, sets.months, weekdays][position]


@pytest.mark.parametrize(
    ("expression", "wild", "either"),
    [
        ("30 9 * * *", False, False),
        ("* 9 * * *", True, False),
        ("30 */2 * * *", True, False),
        ("0-59 0-23 * * *", False, False),
        ("5,* 9 * * *", False, False),  # only the first character counts
        ("0 0 1 * 1", False, True),
        ("0 0 */2 * 1", False, False),
        ("0 0 1 * */2", False, False),
        ("0 0 1-31 * 1", False, True),
        ("0 0 1,*/2 * 1", False, True),
    ],
)
def test_a_star_is_a_field_that_begins_with_one(expression, wild, either):
    cron = schedule.parse(expression)

    assert cron.follows_wall_clock is wild
    assert cron.either_day_fires is either


# ------------------------------------------------------------------------------------------------ zones


@pytest.mark.parametrize(
    "name",
    ["Asia/Tokyo", "UTC", "Etc/GMT+9", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "EST5EDT"],
)
def test_load_zone_takes_iana_names(name):
    assert schedule.load_zone(name) is ZoneInfo(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Tokyo",
        "JST+9",
        "Asia",
        "Asia/",
        "Asia/Tokyo/",
        "Asia/Tokyo\n",
        " Asia/Tokyo",
        "/Asia/Tokyo",
        "/usr/share/zoneinfo/Asia/Tokyo",
        "../etc/passwd",
        "Asia/../Asia/Tokyo",
        "Asia//Tokyo",
        "Asia\\Tokyo",
        "Asia/Tokyo\x00",
        "\ud800",
        "東京",
        "posix/Asia/Tokyo",
        "right/Asia/Tokyo",
        "posixrules",
        "localtime",
        "Factory",
        "leapseconds",
        "tzdata.zi",
        "A" * 100_000,
        "A/" * 100,
        None,
        9,
        b"UTC",
    ],
)
def test_load_zone_refuses_all_else(name):
    with pytest.raises(ZoneError, match=r'IANA name, such as "Asia/Tokyo"\.$') as caught:
        schedule.load_zone(name)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150


# ------------------------------------------------------------------------------------------------ slots


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 9 * * *", "2026-11-21T08:59:59.999999+09:00", "2026-11-21T09:00+09:00"),
        ("0 9 * * *", "2026-11-21T09:00:00+09:00", "2026-11-22T09:00+09:00"),  # strictly after
        ("0 9 * * *", "2026-11-21T09:00:00.000001+09:00", "2026-11-22T09:00+09:00"),
        ("* * * * *", "2026-11-21T09:00:30+09:00", "2026-11-21T09:01+09:00"),
        ("59 23 31 12 *", "2026-12-31T23:59+09:00", "2027-12-31T23:59+09:00"),
        ("0 0 1 1 *", "2026-12-31T23:59:59+09:00", "2027-01-01T00:00+09:00"),
        ("30 8 1 1 *", "2026-12-31T23:59+09:00", "2027-01-01T08:30+09:00"),  # 31 December in UTC
        ("0 9 * * MON-FRI", "2026-11-20T09:00+09:00", "2026-11-23T09:00+09:00"),
        ("0 9 * * 0", "2026-11-21T09:00+09:00", "2026-11-22T09:00+09:00"),
        ("0 9 * * 7", "2026-11-21T09:00+09:00", "2026-11-22T09:00+09:00"),
        ("0 9 * * 6-7", "2026-11-22T09:00+09:00", "2026-11-28T09:00+09:00"),
        ("0 9 31 * *", "2026-10-31T09:00+09:00", "2026-12-31T09:00+09:00"),
        ("0 9 29 2 *", "2026-11-21T09:00+09:00", "2028-02-29T09:00+09:00"),
        ("0 9 29 2 *", "2096-02-29T09:00+09:00", "2104-02-29T09:00+09:00"),
        ("0 9 29 2 */7", "2088-02-29T09:00+09:00", "2128-02-29T09:00+09:00"),  # 40 years: the longest wait
        ("0 9 1 * 1", "2026-11-21T09:00+09:00", "2026-11-23T09:00+09:00"),  # either day
        ("0 9 1 * 1", "2026-11-30T09:00+09:00", "2026-12-01T09:00+09:00"),
        ("0 9 */10 * 1", "2026-11-21T09:00+09:00", "2026-12-21T09:00+09:00"),  # both days: Monday the 21st
        ("0 0 30 2 1", "2026-11-21T09:00+09:00", "2027-02-01T00:00+09:00"),
        ("5-5/15 9 * * *", "2026-11-21T09:05+09:00", "2026-11-22T09:05+09:00"),
    ],
)
def test_next_run_is_the_first_slot_strictly_after(expression, after, expected):
    found = schedule.next_run(expression, zone=TOKYO, after=datetime.fromisoformat(after))

    assert found == datetime.fromisoformat(expected)
    assert found.tzinfo is UTC


# In UTC: New York springs forward on 8 March 2026 at 07:00 and falls back on 1 November at 06:00; Lord Howe
# changes by half an hour, on 3 October at 15:30 (02:00 becomes 02:30) and on 4 April at 15:00 (02:00
# becomes 01:30).
@pytest.mark.parametrize(
    ("expression", "zone", "after", "hours", "expected"),
    [
        # A fixed time that is skipped runs right after the gap; what is due there anyway is the same slot.
        ("30 2 * * *", NEW_YORK, "2026-03-08T00:00", 36, ["08 07:00", "09 06:30"]),
        ("0,15,30 2 * * *", NEW_YORK, "2026-03-08T00:00", 12, ["08 07:00"]),
        ("0 2,3 * * *", NEW_YORK, "2026-03-08T00:00", 12, ["08 07:00"]),
        ("30 1-3 * * *", NEW_YORK, "2026-03-08T00:00", 12, ["08 06:30", "08 07:00", "08 07:30"]),
        ("59 1 * * *", NEW_YORK, "2026-03-08T00:00", 12, ["08 06:59"]),
        ("0 3 * * *", NEW_YORK, "2026-03-08T00:00", 12, ["08 07:00"]),
        # A wildcard follows the wall clock: there is no 02:30 that night.
        ("*/30 2 * * *", NEW_YORK, "2026-03-08T00:00", 30.5, ["09 06:00", "09 06:30"]),
        ("30 * * * *", NEW_YORK, "2026-03-08T06:00", 2, ["08 06:30", "08 07:30"]),
        # A fixed time in the repeated hour runs in its first passing only; a wildcard in both.
        ("30 1 * * *", NEW_YORK, "2026-11-01T00:00", 36, ["01 05:30", "02 06:30"]),
        ("0 2 * * *", NEW_YORK, "2026-11-01T00:00", 12, ["01 07:00"]),
        ("0 0-2 * * *", NEW_YORK, "2026-11-01T00:00", 12, ["01 04:00", "01 05:00", "01 07:00"]),
        ("*/30 1 * * *", NEW_YORK, "2026-11-01T00:00", 12, ["01 05:00", "01 05:30", "01 06:00", "01 06:30"]),
        ("*/30 1 1 11 *", NEW_YORK, "2026-11-01T00:00", 12, ["01 05:00", "01 05:30", "01 06:00", "01 06:30"]),
        ("30 * * * *", NEW_YORK, "2026-11-01T04:00", 4, ["01 04:30", "01 05:30", "01 06:30", "01 07:30"]),
        # Half an hour.
        ("15 2 * * *", LORD_HOWE, "2026-10-03T00:00", 44, ["03 15:30", "04 15:15"]),
        ("45 2 * * *", LORD_HOWE, "2026-10-03T00:00", 20, ["03 15:45"]),
        ("*/15 2 * * *", LORD_HOWE, "2026-10-03T00:00", 20, ["03 15:30", "03 15:45"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-04T00:00", 20, ["04 14:45"]),
        ("45 * * * *", LORD_HOWE, "2026-04-04T14:00", 3, ["04 14:45", "04 15:15", "04 16:15"]),
        # The gap takes midnight: the day begins at 01:00, and its jobs of 00:30 with it.
        ("30 0 * * *", HAVANA, "2026-03-08T00:00", 12, ["08 05:00"]),
        ("0 0 8 * *", HAVANA, "2026-03-08T00:00", 12, ["08 05:00"]),
        # Three hours or more are a correction of the clock: nothing is caught up. Apia had no 30 December.
        ("30 9 * * *", APIA, "2011-12-29T00:00", 48, ["29 19:30", "30 19:30"]),
        ("30 9 30 12 *", APIA, "2011-12-29T00:00", 60, []),
        ("30 3 * * *", CASEY, "2009-10-17T12:00", 24, []),
    ],
)
def test_clock_changes_are_treated_as_debian_cron_treats_them(expression, zone, after, hours, expected):
    assert slots(expression, zone, after, hours) == expected


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("30 2 * * *", "2026-03-08T06:59:59", "2026-03-08T07:00"),  # the second before the gap
        ("30 2 * * *", "2026-03-08T07:00:00", "2026-03-09T06:30"),  # where it ends
        ("30 1 * * *", "2026-11-01T05:10", "2026-11-01T05:30"),  # in the first passing
        ("30 1 * * *", "2026-11-01T05:50", "2026-11-02T06:30"),
        ("30 1 * * *", "2026-11-01T06:10", "2026-11-02T06:30"),  # in the second
        ("*/30 1 * * *", "2026-11-01T05:50", "2026-11-01T06:00"),
        ("*/30 1 * * *", "2026-11-01T06:10", "2026-11-01T06:30"),
        # Looked for from 01:50 on, the next is a year away; then the clock goes back.
        ("*/30 1 1 11 *", "2026-11-01T05:50", "2026-11-01T06:00"),
    ],
)
def test_next_run_from_within_a_change(expression, after, expected):
    assert schedule.next_run(expression, zone=NEW_YORK, after=utc(after)) == utc(expected)


def zone_with_change(at: str, before: int, then: int) -> ZoneInfo:
    """A zone of our own, with one change of its offset in hours: tzdata has none so near UTC's new year."""
    seconds = int(utc(at).timestamp())
    types = b"".join(struct.pack(">lbb", hours * 3600, 0, 0) for hours in (before, then))
    header = b"TZif2" + bytes(15)
    old = header + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + types[:6] + b"TEST"
    new = header + struct.pack(">6L", 0, 0, 0, 1, 2, 4) + struct.pack(">qB", seconds, 1) + types + b"AAA\0"
    return ZoneInfo.from_file(BytesIO(old + new + f"\n<T>{-then}\n".encode()))


@pytest.mark.parametrize(
    ("change", "expression", "after", "expected"),
    [
        # 00:30 becomes 23:30 again; the second 00:20 is in the new year of UTC.
        (("2025-12-31T23:30", 1, 0), "20 0 * * *", "2025-12-31T23:00", ["31 23:20", "02 00:20"]),
        (("2025-12-31T23:30", 1, 0), "*/20 0 * * *", "2025-12-31T23:00", ["31 23:20", "01 00:00"]),
        (("2025-12-31T23:30", 1, 0), "20 0 * * *", "2025-12-31T23:59", ["02 00:20", "03 00:20"]),
        # 01:10 becomes 00:10 again; looked for from 00:55 on, the next such Sunday is in 2034.
        (("2023-01-01T00:10", 1, 0), "*/10 0 1 1 */7", "2022-12-31T23:55", ["01 00:10", "01 00:20"]),
        # At midnight UTC itself, to either side.
        (("2026-01-01T00:00", 1, 0), "30 0 1 1 *", "2025-12-31T20:00", ["31 23:30", "01 00:30"]),
        (("2026-01-01T00:00", 1, 2), "30 1 1 1 *", "2025-12-31T20:00", ["01 00:00", "31 23:30"]),
    ],
)
def test_changes_over_the_new_year_of_utc(change, expression, after, expected):
    runs = schedule.next_runs(expression, zone=zone_with_change(*change), after=utc(after), count=2)

    assert [f"{run.astimezone(UTC):%d %H:%M}" for run in runs] == expected


@pytest.mark.parametrize("fold", [0, 1])
def test_an_instant_given_in_local_time_keeps_its_fold(fold):
    after = datetime(2026, 11, 1, 1, 10, tzinfo=NEW_YORK, fold=fold)

    found = schedule.next_run("*/20 1 * * *", zone=NEW_YORK, after=after)

    assert found == utc("2026-11-01T05:20" if fold == 0 else "2026-11-01T06:20")


def test_zones_of_the_instant_and_of_the_schedule_are_apart():
    instants = [NOON.astimezone(zone) for zone in (UTC, TOKYO, NEW_YORK, timezone(timedelta(hours=-3)))]

    found = {schedule.next_run("0 9 * * *", zone=BERLIN, after=instant) for instant in instants}

    assert found == {utc("2026-11-22T08:00")}


def test_preview_is_in_the_zone_with_each_slot_its_own_offset():
    runs = schedule.next_runs("30 1 * * *", zone=NEW_YORK, after=utc("2026-10-31T00:00"), count=3)

    assert [run.isoformat() for run in runs] == [
        "2026-10-31T01:30:00-04:00",
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
    ]


@pytest.mark.parametrize("count", [0, 1, 50])
def test_preview_gives_as_many_as_asked(count):
    assert len(schedule.next_runs("0 0 29 2 *", zone=BERLIN, after=NOON, count=count)) == count


@pytest.mark.parametrize("zone", [TOKYO, BERLIN, NEW_YORK, LORD_HOWE])
@pytest.mark.parametrize("expression", ["*/20 * * * *", "30 2 * * *", "15,45 1-3 * * *", "30 2 * 3,4,10 0"])
def test_what_preview_shows_is_what_fires(zone, expression):
    after = utc("2026-10-01T00:00")

    preview = schedule.next_runs(expression, zone=zone, after=after, count=50)

    until = preview[-1].astimezone(UTC)
    assert [run.astimezone(UTC) for run in preview] == stepped(expression, zone, after + SECOND, until)
    assert [run.astimezone(UTC) for run in preview] == list(
        schedule.slots_between(expression, zone=zone, after=after, until=until)
    )


def test_slots_between_leaves_out_the_beginning_and_includes_the_end():
    assert slots("0 * * * *", TOKYO, "2026-11-21T10:00", hours=2) == ["21 11:00", "21 12:00"]
    assert slots("0 * * * *", TOKYO, "2026-11-21T12:00", hours=0) == []
    assert slots("0 * * * *", TOKYO, "2026-11-21T12:00", hours=-2) == []


def test_slots_between_refuses_a_bad_expression_when_called():
    with pytest.raises(CronError):
        schedule.slots_between("@daily", zone=TOKYO, after=NOON, until=NOON)


@pytest.mark.parametrize("zone", [TOKYO, BERLIN, LORD_HOWE, HAVANA, TROLL])
@pytest.mark.parametrize(
    "expression",
    ["*/7 * * * *", "30 0-3 * * *", "15,30 2 * * *", "0 12 1 * 1", "*/30 2,3 * * *", "0 0 1 1 *"],
)
def test_previous_run_walks_back_the_way_next_run_came(zone, expression):
    after = utc("2026-10-24T00:00")
    found = [run.astimezone(UTC) for run in schedule.next_runs(expression, zone=zone, after=after, count=60)]

    assert [schedule.previous_run(expression, zone=zone, at=slot) for slot in found] == found
    before = [schedule.previous_run(expression, zone=zone, at=slot - timedelta.resolution) for slot in found]
    assert before[1:] == found[:-1]


def test_last_slot_lies_within_its_bounds():
    first, until = utc("2026-11-21T00:00"), utc("2026-11-21T05:30")

    assert schedule.last_slot("0 * * * *", zone=TOKYO, first=first, until=until) == utc("2026-11-21T05:00")
    assert schedule.last_slot("0 14 * * *", zone=TOKYO, first=first, until=until) == utc("2026-11-21T05:00")
    assert schedule.last_slot("0 9 * * *", zone=TOKYO, first=first, until=until) == first
    assert schedule.last_slot("0 8 * * *", zone=TOKYO, first=first, until=until) is None


@pytest.mark.parametrize("zone", [TOKYO, BERLIN, LORD_HOWE, HAVANA, APIA])
@pytest.mark.parametrize(
    "expression",
    [
        "*/30 * * * *",
        "17,47 * * * *",
        "15 0-3 * * *",
        "*/20 2 * * *",
        "0 0 1,15 * 1",
        "30 2 */2 * 0",
        "0 0 29 2 *",
    ],
)
def test_count_slots_equals_stepping(zone, expression):
    rng = random.Random(f"{zone} {expression}")
    for year in (2011, 2026, 2028):
        first = datetime(year, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(360 * 86_400))
        until = first + timedelta(seconds=rng.randrange(60 * 86_400))

        expected = list(
            schedule.slots_between(expression, zone=zone, after=first - SECOND / 10**6, until=until)
        )

        assert schedule.count_slots(expression, zone=zone, first=first, until=until) == len(expected)


@pytest.mark.parametrize(
    ("expression", "first", "until", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00", "2026-12-31T23:59:59", 525_600),
        ("0 * * * *", "2026-11-21T10:00", "2026-11-21T12:00", 3),  # both ends included
        ("0 * * * *", "2026-11-21T10:00:01", "2026-11-21T11:59:59", 1),
        ("0 * * * *", "2026-11-21T10:00", "2026-11-21T10:00", 1),
        ("0 * * * *", "2026-11-21T10:00:01", "2026-11-21T10:00:01", 0),
        ("0 * * * *", "2026-11-21T10:00", "2026-11-21T09:00", 0),
    ],
)
def test_count_slots_includes_both_ends(expression, first, until, expected):
    assert schedule.count_slots(expression, zone=TOKYO, first=utc(first), until=utc(until)) == expected


def test_counts_of_neighbouring_spans_add_up():
    rng = random.Random("spans")
    marks = sorted(utc("2026-01-01T00:00") + SECOND * rng.randrange(31_536_000) for _ in range(200))
    for expression in ("* * * * *", "0,15,30,45 0-5 * * *", "30 2 * * 0"):
        parts = [
            schedule.count_slots(expression, zone=LORD_HOWE, first=first + timedelta.resolution, until=until)
            for first, until in pairwise(marks)
        ]

        whole = schedule.count_slots(
            expression, zone=LORD_HOWE, first=marks[0] + timedelta.resolution, until=marks[-1]
        )
        assert sum(parts) == whole


def test_stepping_one_by_one_covers_a_year_of_berlin_exactly():
    first, until = utc("2026-01-01T00:00"), utc("2026-12-31T23:59")

    found = stepped("0,30 1-3 * * *", BERLIN, first, until)

    # 365 nights of six; 29 March runs 02:00, 02:30 and 03:00 as one; 25 October repeats nothing.
    assert len(found) == 365 * 6 - 2
    assert schedule.count_slots("0,30 1-3 * * *", zone=BERLIN, first=first, until=until) == len(found)


# --------------------------------------------------------------------------------------- the ends of time

ENDS = [
    datetime.min.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=TOKYO),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime(2, 1, 1, tzinfo=UTC),
    datetime(1883, 11, 18, tzinfo=NEW_YORK),
    datetime(9948, 12, 31, tzinfo=UTC),
    datetime(9998, 12, 31, 23, 59, tzinfo=UTC),
    datetime(9999, 1, 1, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=NEW_YORK),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
]


@pytest.mark.parametrize("expression", ["* * * * *", "30 2 * * *", "0 0 1 1 *", "0 0 29 2 */7"])
@pytest.mark.parametrize("zone", [TOKYO, NEW_YORK, ZoneInfo("UTC"), ZoneInfo("Pacific/Kiritimati")])
def test_no_instant_is_too_early_or_too_late_to_ask_about(zone, expression):
    for at in ENDS:
        following = schedule.next_run(expression, zone=zone, after=at)
        previous = schedule.previous_run(expression, zone=zone, at=at)

        assert following is None or following > at
        assert previous is None or previous <= at
        assert schedule.count_slots(expression, zone=zone, first=at, until=at) in (0, 1)


def test_there_is_no_slot_beyond_the_year_9998():
    assert schedule.next_run("* * * * *", zone=TOKYO, after=datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert schedule.next_runs("0 0 1 1 *", zone=TOKYO, after=datetime(9997, 6, 1, tzinfo=UTC), count=5) == [
        datetime(9998, 1, 1, tzinfo=TOKYO),
        datetime(9999, 1, 1, tzinfo=TOKYO),  # still 9998 in UTC
    ]
    assert schedule.previous_run("* * * * *", zone=TOKYO, at=datetime(1, 6, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda at: schedule.next_run("* * * * *", zone=TOKYO, after=at),
        lambda at: schedule.next_runs("* * * * *", zone=TOKYO, after=at, count=5),
        lambda at: schedule.previous_run("* * * * *", zone=TOKYO, at=at),
        lambda at: schedule.slots_between("* * * * *", zone=TOKYO, after=at, until=at),
        lambda at: schedule.count_slots("* * * * *", zone=TOKYO, first=at, until=at),
    ],
)
def test_naive_instants_are_refused(ask):
    ask(NOON)

    with pytest.raises(ValueError, match="aware datetime"):
        ask(NOON.replace(tzinfo=None))


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/1 */1 */1 */1 */1", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/40 * * * *", "At 0 and 40 minutes past the hour"),
        ("*/60 * * * *", "Every hour"),
        ("1 * * * *", "At 1 minute past the hour"),
        ("5-59/15 * * * *", "At 5, 20, 35, and 50 minutes past the hour"),
        ("0 */2 * * *", "Every 2 hours"),
        ("30 */4 * * *", "At 30 minutes past the hour, every 4 hours"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("0 9 * * *", "At 09:00"),
        ("0 9 * * 1-5", "At 09:00, Monday through Friday"),
        ("0 9 * * mon-fri", "At 09:00, Monday through Friday"),
        ("0,30 9 * * *", "At 09:00 and 09:30"),
        ("15 10,14 * * *", "At 10:15 and 14:15"),
        ("0 9-17 * * *", "Every hour from 09:00 through 17:00"),
        ("0 22-23,0-2 * * *", "At 00:00, 01:00, 02:00, 22:00 and 23:00"),
        ("*/5 9-17 * * *", "Every 5 minutes, between 09:00 and 17:59"),
        ("*/10 1-3,8 * * *", "Every 10 minutes, during the hours of 01:00, 02:00, 03:00, and 08:00"),
        ("*/15,3 6 * * *", "At 0, 3, 15, 30, and 45 minutes past the hour, during the hour of 06:00"),
        ("0-10 9 * * *", "Every minute between 09:00 and 09:10"),
        ("* 3 * * *", "Every minute, between 03:00 and 03:59"),
        ("*,5 3 * * *", "Every minute, between 03:00 and 03:59"),
        ("0 0 * * 0", "At 00:00, only on Sunday"),
        ("0 0 * * 7", "At 00:00, only on Sunday"),
        ("0 0 * * 0,7", "At 00:00, only on Sunday"),
        ("0 0 * * 5-7", "At 00:00, Friday through Sunday"),
        ("0 0 * * 6,0", "At 00:00, only on Saturday and Sunday"),
        ("0 0 * * SUN-TUE", "At 00:00, Sunday through Tuesday"),
        ("0 0 * * */2", "At 00:00, only on Tuesday, Thursday, Saturday, and Sunday"),
        ("0 0 * * 0-7", "At 00:00"),
        ("0 0 29 2 *", "At 00:00, on day 29 of the month, only in February"),
        ("0 0 */31 * *", "At 00:00, on day 1 of the month"),
        ("0 0 1-7 * *", "At 00:00, between day 1 and 7 of the month"),
        ("0 0 1 */3 *", "At 00:00, on day 1 of the month, only in January, April, July, and October"),
        ("0 0 1 * 1", "At 00:00, either on day 1 of the month or on Monday"),
        ("0 0 1 6 1-5", "At 00:00, either on day 1 of the month or on Monday through Friday, only in June"),
        ("0 0 */15 * 1", "At 00:00, on day 1, 16, and 31 of the month, and only when that is Monday"),
        ("0 0 1 * */6", "At 00:00, on day 1 of the month, and only when that is Saturday or Sunday"),
        ("0 0 1-31 * 1", "At 00:00"),
        ("0 0 */1 * 1", "At 00:00, only on Monday"),
    ],
)
def test_describe_says_when_it_fires(expression, words):
    assert schedule.describe(expression) == words


def test_describe_refuses_what_parse_refuses():
    with pytest.raises(CronError):
        schedule.describe("61 * * * *")


def test_describe_speaks_english_whatever_the_locale(monkeypatch):
    monkeypatch.setattr("locale.getlocale", lambda *_: ("de_DE", "UTF-8"))
    schedule._describe.cache_clear()

    assert schedule.describe("0 21 * * 1") == "At 21:00, only on Monday"


@pytest.mark.parametrize(
    ("expression", "note"),
    [
        ("0 0 1 * 1", "every day that matches either"),
        ("0 0 1-31 * 1", "every day that matches either"),
        ("0 0 */2 * 1", "only on days that match both"),
        ("0 0 1 * */2", "only on days that match both"),
        ("0 0 */1 * 1", ""),
        ("0 0 1 * *", ""),
        ("0 0 * * 1", ""),
    ],
)
def test_day_rule_note_warns_where_both_day_fields_are_given(expression, note):
    found = schedule.day_rule_note(expression)

    assert note in found
    assert bool(found) is bool(note)


# ----------------------------------------------------------------------------------------------- promises


def test_the_module_imports_nothing_of_django_and_reads_no_clock():
    tree = ast.parse(getsource(schedule))

    imported = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {name.name for n in ast.walk(tree) if isinstance(n, ast.Import) for name in n.names}
    attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    packages = {name.split(".")[0] for name in imported}
    assert not packages & {"django", "jobs", "cronsched", "time", "os"}
    assert not attributes & {"now", "utcnow", "today", "time"}


def test_a_leap_second_is_no_second_slot():
    """2016 ended with 23:59:60 UTC. POSIX time has no such second: it shows 23:59:59 or 00:00:00 twice."""
    after = datetime(2016, 12, 31, 23, 58, 30, tzinfo=UTC)

    slots = schedule.next_runs("* * * * *", zone=ZoneInfo("UTC"), after=after, count=3)

    assert [slot.strftime("%H:%M:%S") for slot in slots] == ["23:59:00", "00:00:00", "00:01:00"]


# ---- what pages show: a day of many jobs, and clock changes -----------------------------------------


@pytest.mark.parametrize("zone", [TOKYO, BERLIN, NEW_YORK, LORD_HOWE, HAVANA, TROLL], ids=str)
@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "15 0-3 * * 0", "0 */2 * * *", "5 1 8,25 * 0", "0 0 29 2 *"],
)
def test_minutes_between_are_the_slots_that_stepping_finds(zone, expression):
    for begin in ("2026-03-08T05:17", "2026-03-28T22:00", "2026-04-04T12:30", "2026-10-24T23:59"):
        first, until = utc(begin), utc(begin) + timedelta(hours=30)
        stepped = schedule.slots_between(expression, zone=zone, after=first - SECOND, until=until)

        assert list(schedule.minutes_between(expression, zone=zone, first=first, until=until)) == list(
            stepped
        )


@pytest.mark.parametrize(
    ("expression", "forward", "back"),
    [
        ("30 2 * * *", "at_once", "once"),
        ("0 */2 * * *", "left_out", "again"),
        ("*/15 2 * * *", "left_out", "again"),
        ("*/5 * * * *", "", ""),
        ("0 9 * * *", "", ""),
        ("30 2 1 * *", "", ""),
    ],
)
def test_what_a_clock_change_does_to_a_job(expression, forward, back):
    def change(after: str) -> schedule.ClockChange | None:
        within = timedelta(days=60)
        return schedule.next_clock_change(expression, zone=BERLIN, after=utc(after), within=within)

    spring, autumn = change("2026-03-01T00:00"), change("2026-10-01T00:00")

    assert spring == schedule.ClockChange(
        at=datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN), shift=timedelta(hours=1), effect=forward
    )
    assert autumn is not None
    assert (autumn.shift, autumn.effect) == (timedelta(hours=-1), back)
    assert autumn.at.isoformat() == "2026-10-25T02:00:00+01:00"
    assert change("2026-04-01T00:00") is None


def test_a_zone_without_clock_changes_has_none():
    year = timedelta(days=366)
    assert schedule.next_clock_change("0 9 * * *", zone=TOKYO, after=NOON, within=year) is None
    assert schedule.next_clock_change("0 9 * * *", zone=ZoneInfo("UTC"), after=NOON, within=year) is None


def test_half_an_hour_is_noticed_by_hourly_jobs_too():
    change = schedule.next_clock_change(
        "10 * * * *", zone=LORD_HOWE, after=utc("2026-09-20T00:00"), within=timedelta(days=30)
    )
    assert change is not None
    assert (change.shift, change.effect) == (timedelta(minutes=30), "left_out")
