"""Small charts as SVG, drawn on the server: they need no script and follow the colours of the page.

Here is their geometry; templates/admin/charts/ draws it. A chart stands beside a table or a sentence that
says the same, so that nothing is told by a colour or a shape alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from jobs.choices import Status

# Units of the drawing; it is stretched to the place it is given.
STEP: Final = 10.0
GAP: Final = 2.0
HEIGHT: Final = 100.0
# What is there is seen, however small.
LEAST: Final = 3.0
SPARK_HEIGHT: Final = 20
# How high a run's mark stands, so that those who see no colours can tell them.
MARKS: Final[dict[str, int]] = {
    Status.SUCCESS: 12,
    Status.FAILED: SPARK_HEIGHT,
    Status.MISSED: 6,
    Status.RUNNING: 9,
    Status.QUEUED: 9,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One colour of a bar; `kind` is the end of its CSS class."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    x: float
    parts: list[Part]
    title: str
    # For who points at it: the table or sentence beside the chart has the same links.
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """`top` is the value at the upper edge; `points` is a line, "" for none.

    `columns` is how many bars there is room for, 0 for as many as there are.
    """

    bars: list[Bar]
    top: float
    bottom: float = 0.0
    points: str = ""
    columns: int = 0

    @property
    def width(self) -> float:
        return max(1, self.columns, len(self.bars)) * STEP

    @property
    def bar_width(self) -> float:
        return STEP - GAP


def bar_chart(
    columns: Iterable[tuple[str, Sequence[tuple[str, float]]]], *, urls: Sequence[str] = ()
) -> Chart:
    """Stacked bars: for each a title and its parts as (kind, value), the lowest first."""
    columns = list(columns)
    top = max((sum(value for _kind, value in parts) for _title, parts in columns), default=0.0)
    bars = [
        Bar(x=n * STEP + GAP / 2, parts=_stack(parts, top), title=title, url=urls[n] if urls else "")
        for n, (title, parts) in enumerate(columns)
    ]
    return Chart(bars=bars, top=top)


def line_chart(
    points: Iterable[tuple[str, float | None]], *, top: float, bottom: float = 0.0, urls: Sequence[str] = ()
) -> Chart:
    """A line through the values; where there is none it goes on to the next."""
    points = list(points)
    span = (top - bottom) or 1.0
    drawn = [
        f"{(n + 0.5) * STEP:.1f},{HEIGHT - LEAST - (value - bottom) / span * (HEIGHT - 2 * LEAST):.1f}"
        for n, (_title, value) in enumerate(points)
        if value is not None
    ]
    bars = [
        Bar(x=n * STEP, parts=[], title=title, url=urls[n] if urls else "")
        for n, (title, _value) in enumerate(points)
    ]
    if len(drawn) == 1:
        # One day alone is a short level line.
        x, y = drawn[0].split(",")
        drawn = [f"{float(x) - STEP / 2:.1f},{y}", f"{float(x) + STEP / 2:.1f},{y}"]
    return Chart(bars=bars, top=top, bottom=bottom, points=" ".join(drawn))


def sparkline(runs: Sequence[tuple[Any, ...]]) -> SafeString:
    """The outcomes of a job's last runs, oldest first, as small marks with one sentence for them all."""
    if not runs:
        return format_html('<span class="text-subtle">{}</span>', _("no runs yet"))
    return _drawn(tuple(run[1] for run in runs), get_language())


@lru_cache(maxsize=1024)
def _drawn(statuses: tuple[str, ...], language: str | None) -> SafeString:
    """Drawn once: of fifty jobs on a page most have had the same outcomes, in the language of the words."""
    marks = format_html_join(
        "",
        '<rect class="cs-fill-{}" x="{}" y="{}" width="4" height="{}" rx="1"/>',
        ((status, n * 6, SPARK_HEIGHT - MARKS[status], MARKS[status]) for n, status in enumerate(statuses)),
    )
    words = outcome_words(statuses)
    return format_html(
        '<svg class="cs-spark" role="img" aria-label="{0}" viewBox="0 0 {1} {2}" width="{1}" height="{2}">'
        "<title>{0}</title>{3}</svg>",
        words,
        len(statuses) * 6 - 2,
        SPARK_HEIGHT,
        marks,
    )


def outcome_words(statuses: Iterable[str]) -> str:
    """How many runs there are of each outcome: "Last 20 runs: 18 success, 2 failed"."""
    statuses = list(statuses)
    parts = [f"{statuses.count(status)} {status.label}" for status in Status if status in statuses]
    said = ngettext("Last run: %(parts)s", "Last %(count)d runs: %(parts)s", len(statuses))
    return said % {"count": len(statuses), "parts": ", ".join(parts)}


def _stack(parts: Sequence[tuple[str, float]], top: float) -> list[Part]:
    stacked, y = [], HEIGHT
    for kind, value in parts:
        if value:
            height = max(LEAST, value / top * (HEIGHT - LEAST))
            y -= height
            stacked.append(Part(kind=kind, y=round(max(0.0, y), 1), height=round(height, 1)))
    return stacked
