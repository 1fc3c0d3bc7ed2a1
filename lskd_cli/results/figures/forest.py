"""Forest plot: the difference that standardization makes, for each method and pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import altair as alt

from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, color_scale
from lskd_cli.results.figures.style import BLACK, SIGN_COLORS, TWO_COLUMNS
from lskd_cli.results.seed_stats import Sign

_ROW_HEIGHT = 48  # pixels: three lines of a label
_LABEL_WIDTH = 190  # pixels; longer lines are cut
# Labels of the axes are TEXT|NUMBER, which is unique; the parts of a text are lines.
_LINES = "split(replace(datum.label, regexp('[|][0-9]+$'), ''), ' · ')"


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
    data = [
        vars(row)
        | {
            "order": order,
            "published_text": _published_text(row),
            "row": f"{row.label.replace(f'{row.pair}, ', f'{row.pair} · ')}|{order}",
            "text": f"{row.result.replace(' [', ' · [')}|{order}",
        }
        for order, row in enumerate(rows)
    ]
    names = list(SIGN_COLORS)
    base = alt.Chart(ROWS).encode(y=_rows_axis("row", "left"))
    x = alt.X(
        "difference:Q",
        title="+Ours minus plain (points)",
        axis=alt.Axis(tickCount=6),
        scale=alt.Scale(padding=12),
    )
    color = alt.Color("sign:N", scale=color_scale(SIGN_COLORS, names), title=None, legend=None)
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("pair:N"),
        alt.Tooltip("result:N", title="+Ours minus plain"),
        alt.Tooltip("published_text:N", title="published difference"),
    ]
    # Reacts to the pointer in the whole row.
    row = base.mark_rect(opacity=0).encode(x=alt.value(0), x2=alt.value("width"), tooltip=tooltip)
    zero = alt.Chart(ROWS).mark_rule(strokeWidth=1, color="#9CA3AF").encode(x=alt.datum(0))
    measured = "isValid(datum.difference)"
    interval = (
        base.transform_filter("isValid(datum.ci_low)")
        .mark_rule(strokeWidth=2.5)
        .encode(x=x.copy(), x2="ci_high:Q", color=color, tooltip=tooltip)
    )
    interval.encoding.x.shorthand = "ci_low:Q"
    point = (
        base.transform_filter(measured)
        .mark_point(size=60, strokeWidth=2, filled=False)
        .encode(
            x=x,
            color=color,
            fill=alt.condition("isValid(datum.ci_low)", color, alt.value("transparent")),
            tooltip=tooltip,
        )
    )
    published = (
        base.transform_filter("isValid(datum.published)")
        .mark_point(shape="diamond", size=40, filled=False, strokeWidth=1.2, color=BLACK)
        .encode(x="published:Q", tooltip=tooltip)
    )
    # An invisible layer, whose axis on the right has the values.
    result = alt.Chart(ROWS).mark_point(opacity=0).encode(y=_rows_axis("text", "right"))
    chart: Chart = alt.layer(
        alt.layer(row, zero, interval, point, published), result
    ).resolve_scale(y="independent")
    panel = Panel("", chart, data, row_height=_ROW_HEIGHT)
    return Figure([panel], width=TWO_COLUMNS, aspect=None)


def _published_text(row: ForestRow) -> str:
    return "none" if row.published is None else f"{row.published:+.2f} for {row.published_for}"


def _rows_axis(field: str, side: Literal["left", "right"]) -> alt.Y:
    """An axis of texts, one for each row."""
    return alt.Y(
        f"{field}:N",
        sort=alt.SortField("order"),
        title=None,
        axis=alt.Axis(
            orient=side,
            labelExpr=_LINES,
            labelLimit=_LABEL_WIDTH,
            domain=False,
            ticks=False,
            labelPadding=8,
        ),
    )
