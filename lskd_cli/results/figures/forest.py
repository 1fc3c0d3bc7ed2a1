"""Forest plot: the difference that standardization makes, for each method and pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import altair as alt

from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, color_scale
from lskd_cli.results.figures.style import BLACK, SIGN_COLORS, TWO_COLUMNS
from lskd_cli.results.seed_stats import Sign

_ROW_HEIGHT = 34  # pixels: a line of text, and the interval below it


@dataclass(frozen=True)
class ForestRow:
    """The comparison of a method with and without standardization.

    Attributes:
        label: method, pair, number of epochs and of seeds.
        section: identifier of the section of the page with its runs.
        method: label of the method.
        pair: heading of the group of runs.
        result: difference with its interval, or how far unfinished runs are.
        difference: standardized minus plain in percentage points; None if there is none yet.
        ci_low: lower end of the 95 % t interval; None for a single seed.
        ci_high: its upper end.
        sign: whether the interval is above zero, below zero, or contains it.
        published: published difference.
        published_for: whether it was published for these settings or for others.
        state: finished or unfinished.
    """

    label: str
    section: str
    method: str
    pair: str
    result: str
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    sign: Sign
    published: float | None
    published_for: Literal["these settings", "other settings"] | None
    state: Literal["finished", "unfinished"]


def forest_plot(rows: Sequence[ForestRow]) -> Figure:
    """A line for each comparison: interval and mean of the difference, and the published one.

    Single seeds have no interval; their points are hollow.
    """
    data = [vars(row) | {"order": order} for order, row in enumerate(rows)]
    names = list(SIGN_COLORS)
    y = alt.Y("order:O", axis=None)
    base = alt.Chart(ROWS).encode(y=y)
    x = alt.X(
        "difference:Q",
        title="+Ours minus plain, top-1 (percentage points)",
        scale=alt.Scale(padding=12),
    )
    color = alt.Color("sign:N", scale=color_scale(SIGN_COLORS, names), title=None, legend=None)
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("pair:N"),
        alt.Tooltip("result:N", title="+Ours minus plain"),
        alt.Tooltip("published:Q", title="published difference", format="+.2f"),
        alt.Tooltip("published_for:N", title="published for"),
    ]
    zero = alt.Chart(ROWS).mark_rule(strokeWidth=1, color="#9CA3AF").encode(x=alt.datum(0))
    measured = "isValid(datum.difference)"
    interval = (
        base.transform_filter("isValid(datum.ci_low)")
        .mark_rule(strokeWidth=2.5, yOffset=6)
        .encode(x=x.copy(), x2="ci_high:Q", color=color, tooltip=tooltip)
    )
    interval.encoding.x.shorthand = "ci_low:Q"
    point = (
        base.transform_filter(measured)
        .mark_point(size=60, yOffset=6, strokeWidth=2, filled=False)
        .encode(
            x=x,
            color=color,
            fill=alt.condition("isValid(datum.ci_low)", color, alt.value("transparent")),
            tooltip=tooltip,
        )
    )
    published = (
        base.transform_filter("isValid(datum.published)")
        .mark_point(shape="diamond", size=40, yOffset=6, filled=False, strokeWidth=1.2, color=BLACK)
        .encode(x="published:Q", tooltip=tooltip)
    )
    label = base.mark_text(
        align="left", baseline="bottom", limit=alt.ExprRef("width - 140")
    ).encode(x=alt.value(0), text="label:N")
    result = base.mark_text(align="right", baseline="bottom", fontWeight="bold").encode(
        x=alt.value("width"), text="result:N", color=color
    )
    chart: Chart = alt.layer(zero, interval, point, published, label, result).properties(
        height=alt.Step(_ROW_HEIGHT)
    )
    return Figure([Panel("", chart, data)], width=TWO_COLUMNS, aspect=None)
