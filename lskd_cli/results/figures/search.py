"""Parallel coordinates of a search: the settings and the accuracy of each trial."""

import math
from collections.abc import Iterator, Sequence

import altair as alt

from lskd_cli.config.search_space import Dimension, Form
from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, Row
from lskd_cli.results.figures.style import BLACK, GRAY
from lskd_cli.search_info import SearchInfo, TrialInfo, short_label
from lskd_cli.wording import counted

_ACCURACY = "top-1 (%)"  # on the held-out images


def search_figure(info: SearchInfo) -> Figure:
    """A panel for each form; a line for each trial, which crosses an axis for each dimension.

    Lines of pruned trials end before the axis of the accuracy, which they would have reached after
    the last epoch only.
    """
    forms = [form for form in info.dimensions if any(t.form == form for t in info.trials)]
    panels = [Panel(form, _chart(), list(_rows(info, form))) for form in forms]
    return Figure(panels, columns=2, aspect=0.8)


def _chart() -> Chart:
    x = alt.X(
        "axis:O",
        title=None,
        sort=alt.SortField("order"),
        axis=alt.Axis(labelAngle=0, domain=False, ticks=False),
    )
    y = alt.Y("position:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08], nice=False))
    base = alt.Chart(ROWS).encode(x=x)
    tooltip = [
        alt.Tooltip("trial:N"),
        alt.Tooltip("state:N"),
        alt.Tooltip("settings:N"),
        alt.Tooltip("accuracy:Q", title=_ACCURACY, format=".2f"),
    ]
    rules = (
        base.transform_filter("datum.kind == 'end'")
        .mark_line(color="#9CA3AF", strokeWidth=1)
        .encode(y=y, detail="axis:O")
    )
    lines = base.encode(y=y, detail="trial:N", order="order:Q", tooltip=tooltip)
    pruned = lines.transform_filter("datum.kind == 'pruned'").mark_line(
        color=GRAY, strokeWidth=1, strokeDash=[3, 3], opacity=0.6
    )
    complete = (
        lines.transform_filter("datum.kind == 'complete'")
        .mark_line(strokeWidth=1.6)
        .encode(
            color=alt.Color(
                "accuracy:Q", title=_ACCURACY, scale=alt.Scale(scheme="viridis", zero=False)
            )
        )
    )
    preset = lines.transform_filter("datum.is_preset").mark_line(
        color=BLACK, strokeWidth=1.2, strokeDash=[6, 3]
    )
    points = (
        base.transform_filter("datum.kind == 'complete' || datum.kind == 'pruned'")
        .mark_point(size=18, filled=True, color=GRAY)
        .encode(y=y, tooltip=tooltip)
    )
    ends = (
        base.transform_filter("datum.kind == 'end'")
        .mark_text(align="left", dx=4)
        .encode(y=y, text="text:N")
    )
    return alt.layer(rules, pruned, complete, preset, points, ends)


def _rows(info: SearchInfo, form: Form) -> Iterator[Row]:
    dimensions = info.dimensions[form]
    names = _axis_names(dimensions)
    complete = [t for t in info.trials if t.form == form and t.state == "complete"]
    accuracies = [trial.top1 for trial in complete if trial.top1 is not None]
    low, high = min(accuracies, default=0.0), max(accuracies, default=100.0)
    for order, (dimension, name) in enumerate(zip(dimensions, names, strict=True)):
        for position, text in _ends(dimension):
            yield {"kind": "end", "axis": name, "order": order, "position": position, "text": text}
    if accuracies:
        last = len(dimensions)
        for position, value in ((0.0, low), (1.0, high)):
            text = f"{value:.2f}"
            yield {
                "kind": "end",
                "axis": _ACCURACY,
                "order": last,
                "position": position,
                "text": text,
            }
    for trial in info.trials:
        if trial.form == form and trial.state in ("complete", "pruned"):
            yield from _trial_rows(trial, dimensions, names, low, high)


def _trial_rows(
    trial: TrialInfo,
    dimensions: Sequence[Dimension],
    names: Sequence[str],
    low: float,
    high: float,
) -> Iterator[Row]:
    shared = {
        "kind": trial.state,
        "trial": trial.number,
        "state": f"{trial.state} after {counted(len(trial.accuracies), 'epoch')}",
        "settings": ", ".join(
            f"{short_label(label)} {value}" for label, value in trial.settings.items()
        ),
        "accuracy": trial.top1,
        "is_preset": trial.is_preset,
    }
    for order, (dimension, name) in enumerate(zip(dimensions, names, strict=True)):
        if dimension.label in trial.settings:
            position = _position(dimension, trial.settings[dimension.label])
            yield shared | {"axis": name, "order": order, "position": position}
    if trial.state == "complete" and trial.top1 is not None:
        position = (trial.top1 - low) / (high - low) if high > low else 0.5
        yield shared | {"axis": _ACCURACY, "order": len(dimensions), "position": position}


def _axis_names(dimensions: Sequence[Dimension]) -> list[str]:
    """Short names where they are unique."""
    short = [short_label(dimension.label).rpartition(".")[2] for dimension in dimensions]
    return [
        name if short.count(name) == 1 else dimension.label
        for name, dimension in zip(short, dimensions, strict=True)
    ]


def _position(dimension: Dimension, value: object) -> float:
    """Where a value is on its axis, from 0 to 1."""
    if dimension.values:
        return (list(dimension.values).index(value) + 0.5) / len(dimension.values)  # type: ignore[arg-type]
    assert isinstance(value, (int, float))
    if dimension.is_log:
        return math.log(value / dimension.low) / math.log(dimension.high / dimension.low)
    return (value - dimension.low) / (dimension.high - dimension.low)


def _ends(dimension: Dimension) -> list[tuple[float, str]]:
    """Labels of an axis with their positions."""
    if dimension.values:
        return [(_position(dimension, value), str(value)) for value in dimension.values]
    return [(0.0, f"{dimension.low:g}"), (1.0, f"{dimension.high:g}")]
