"""When an expression fires, in Japanese: 「平日 9:00」. Pure, as jobs.schedule with its English words.

cron_descriptor's own Japanese leaves the days of the week in English.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jobs.schedule import HOURS, CronExpression, Values, values_of

_WEEKDAYS = "日月火水木金土"
# As many times of day are spelled out.
_TIMES_MAX = 4


def describe(expression: str | CronExpression) -> str:
    values = values_of(expression)
    days, times = _days(values), _times(values)
    if days != "毎日":
        return f"{days} {times}"
    # 「毎日 毎時…」 says every day twice.
    is_all_day = len(values.hours) == HOURS or "時間ごと" in times
    return times if is_all_day else f"毎日 {times}"


def _days(values: Values) -> str:
    months = "" if len(values.months) == 12 else _joined(values.months, "月")
    dates = "" if len(values.days) == 31 else _joined(values.days, "日")
    weekdays = "" if len(values.weekdays) == 7 else _weekdays(values.weekdays)
    if not (dates or weekdays):
        return f"{months}の毎日" if months else "毎日"
    in_months = f"{months}の" if months else ""
    if not weekdays:
        return f"{in_months or '毎月'}{dates}"
    if not dates:
        return f"{in_months}{weekdays}" if months or weekdays == "平日" else f"毎週{weekdays}"
    if values.either_day_fires:
        return f"{in_months or '毎月'}{dates}と{in_months or '毎週'}{weekdays}"
    return f"{in_months or '毎月'}{dates}のうち{weekdays}"


def _weekdays(days: Sequence[int]) -> str:
    if list(days) == [1, 2, 3, 4, 5]:
        return "平日"
    # Monday first, as a week is read; Sunday is 0.
    order = sorted((day - 1) % 7 for day in days)
    runs = ["〜".join(_WEEKDAYS[(end + 1) % 7] for end in run) for run in _runs(order)]
    return f"{'・'.join(runs)}曜日"


def _times(values: Values) -> str:
    minutes, hours = values.minutes, values.hours
    if len(minutes) * len(hours) <= _TIMES_MAX:
        return "、".join(f"{hour}:{minute:02}" for hour in hours for minute in minutes)
    within = _minutes(minutes)
    if len(hours) == HOURS:
        return within if len(minutes) == 60 or "ごと" in within else f"毎時{within}"
    if len(minutes) == 1 and (step := _step(hours, HOURS)):
        return f"{step}時間ごと" + (f"の{within}" if minutes[0] else "")
    return f"{_joined(hours, '時')}台の{within}"


def _minutes(minutes: Sequence[int]) -> str:
    if len(minutes) == 60:
        return "毎分"
    step = _step(minutes, 60)
    return f"{step}分ごと" if step and len(minutes) > 2 else _joined(minutes, "分")


def _step(values: Sequence[int], size: int) -> int:
    """The even step from 0 through the whole size; 0 where there is none."""
    steps = {later - earlier for earlier, later in pairwise(values)}
    is_even = len(steps) == 1 and values[0] == 0 and size % min(steps) == 0
    return min(steps) if is_even and len(values) == size // min(steps) else 0


def _joined(values: Sequence[int], unit: str) -> str:
    return "、".join("〜".join(map(str, run)) + unit for run in _runs(values))


def _runs(values: Sequence[int]) -> list[tuple[int, ...]]:
    """Neighbours in a row of three or more as (first, last); the others alone."""
    rows: list[list[int]] = []
    for value in values:
        if rows and value == rows[-1][-1] + 1:
            rows[-1].append(value)
        else:
            rows.append([value])
    return [
        run for row in rows for run in ([(row[0], row[-1])] if len(row) > 2 else [(value,) for value in row])
    ]
