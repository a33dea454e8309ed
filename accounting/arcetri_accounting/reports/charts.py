"""Charts as SVG pictures of our own; everything in them is also in a table beside them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import pygal
from pygal.style import Style

from arcetri_accounting.contract.units import hours
from arcetri_accounting.reports.numbers import Amounts, Row, Sums
from arcetri_accounting.reports.periods import Period

# Pygal finds its plugins, of which we use none, with a kind of finder that Python warns of at every
# import that follows.
sys.meta_path[:] = [found for found in sys.meta_path if type(found).__module__ != "pygal"]

Theme = Literal["light", "dark"]
Size = Literal["wide", "narrow"]

MAX_DAYS = 92
"""A longer period is drawn by month."""

PARTS: tuple[tuple[str, str], ...] = (
    ("used", "used"),
    ("unused", "measured, not used"),
    ("presence", "watched, use not measurable"),
    ("unobserved", "not observed"),
)
"""What GPU-hours are made of, with what people call it; the parts add up to allocated."""

_COLORS: dict[Theme, tuple[str, ...]] = {
    "light": ("#1d4f8c", "#9dbce0", "#c08a2a", "#c4c0b5"),
    "dark": ("#8fbcf2", "#3f638f", "#d3a34a", "#515c6b"),
}
_INK: dict[Theme, tuple[str, str]] = {
    "light": ("#1b2430", "#dbd8cf"),
    "dark": ("#e7ebf1", "#293342"),
}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart over time."""

    key: str
    label: str
    parts: tuple[int, int, int, int]
    """In the order of PARTS, in 1/10080 GPU-milliseconds."""

    @property
    def whole(self) -> int:
        """Allocated."""
        return sum(self.parts)


def split(sums: Sums) -> tuple[int, int, int, int]:
    """What allocated GPU-hours are made of; where nothing is known, it is not observed."""
    unobserved = sums.alloc_u - sums.util_u - sums.presence_u
    return (sums.used_u, sums.measured_unused_u, sums.presence_u, unobserved)


def bars(rows: Sequence[Row], period: Period) -> list[Bar]:
    """A bar for every day, or month, of the period, also where there was nothing."""
    known = {row.key: row.amounts for row in rows}
    if by(period) == "month":
        keys = [(key, _month(key, first=not at)) for at, key in enumerate(period.months())]
    else:
        keys = [(day.isoformat(), f"{day.day}") for day in period.days()]
    return [Bar(key, label, split(known.get(key, Amounts()).gpu)) for key, label in keys]


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _month(key: str, *, first: bool) -> str:
    """A month's name, with the year where it is not plain."""
    year, number = key.split("-")
    name = _MONTHS[int(number) - 1]
    return f"{name} {year[2:]}" if first or number == "01" else name


def by(period: Period) -> Literal["day", "month"]:
    """What one bar stands for."""
    return "month" if (period.last - period.first).days >= MAX_DAYS else "day"


def _number(value: float | None) -> str:
    return "0" if not value else f"{value:g}"


def steps(most: float) -> list[float]:
    """Where lines are drawn up to a value: four to six of a round distance."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one >= rough)
    return [round(step * number, 6) for number in range(math.ceil(most / step) + 1)]


def draw(found: Sequence[Bar], theme: Theme, size: Size) -> bytes:
    """Draw the bars, one on the other, as an SVG."""
    ink, line = _INK[theme]
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground=ink,
        foreground_strong=ink,
        foreground_subtle=line,
        guide_stroke_color=line,
        major_guide_stroke_color=line,
        guide_stroke_dasharray="2,4",
        major_guide_stroke_dasharray="2,4",
        opacity="1",
        opacity_hover="1",
        transition="0s",
        colors=_COLORS[theme],
        font_family=_FONT,
        label_font_size=13,
        major_label_font_size=13,
        no_data_font_size=18,
    )
    narrow = size == "narrow"
    chart = pygal.StackedBar(
        width=420 if narrow else 1040,
        height=340 if narrow else 320,
        explicit_size=True,
        disable_xml_declaration=True,
        js=(),
        style=style,
        show_legend=False,
        truncate_label=-1,
        show_minor_x_labels=False,
        x_label_rotation=0,
        margin=10,
        spacing=8,
        zero=0,
        include_x_axis=True,
        value_formatter=_number,
        y_title="GPU-hours",
        print_values=False,
        no_data_text="No GPU was held",
    )
    chart.x_labels = [bar.label for bar in found]
    every = max(1, -(-len(found) // (8 if narrow else 31)))
    chart.x_labels_major = [bar.label for number, bar in enumerate(found) if number % every == 0]
    most = max((bar.whole for bar in found), default=0)
    if most:
        chart.y_labels = steps(_hours(most))
        for place, (_, title) in enumerate(PARTS):
            chart.add(title, [_hours(bar.parts[place]) for bar in found])
    drawn: bytes = chart.render()
    return drawn


def _hours(units: int) -> float:
    return float(hours(units).quantize(Decimal("0.001")))
