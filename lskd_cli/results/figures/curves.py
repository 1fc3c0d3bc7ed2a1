"""Curves of accuracy and loss by epoch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import altair as alt

from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, Row, color_scale
from lskd_cli.results.figures.style import (
    BASELINE,
    BLACK,
    LOCALITY,
    ONE_COLUMN,
    PLAIN,
    STANDARDIZED,
    TWO_COLUMNS,
)
from lskd_cli.results.grouping import curve_key, method_name, table_sort_key
from lskd_cli.results.runs import Run

CurveMetric = Literal["test_top1", "train_loss"]
_TITLES: dict[CurveMetric, str] = {
    "test_top1": "top-1 test accuracy (%)",
    "train_loss": "training loss",
}
# What a curve shows; the key of its color, in the order of the legend.
ROLE_COLORS = {
    "baseline": BASELINE,
    "locality": LOCALITY,
    "plain": PLAIN,
    "+Ours": STANDARDIZED,
    "published +Ours": BLACK,
}
PUBLISHED = "published +Ours"
_METHOD_ROLES = {"none": "baseline", "guidance": "locality"}
_MARGIN = 0.03  # of the range of the values, above and below


@dataclass
class CurvePanel(Panel):
    """Curves of runs. A page builds the rows from the runs, so that their metrics are stored once.

    Attributes:
        runs: the runs.
        metric: the metric that is drawn.
        logs: names of the released logs that are drawn.
        epochs: number of epochs that the horizontal axis shows.
        is_log: whether the vertical axis is logarithmic.
    """

    runs: Sequence[Run]
    metric: CurveMetric
    logs: Sequence[str]
    epochs: int
    is_log: bool


@cache
def published_curves() -> dict[str, list[float]]:
    """Top-1 test accuracy (%) by epoch of the released logs, by log name.

    Three logs of ctkd contain two runs, one after the other; these are the first ones.
    """
    return _load_curves("published_curves.json")


@cache
def published_losses() -> dict[str, list[float]]:
    """Training loss by epoch of the released logs that contain it, by log name."""
    return _load_curves("published_losses.json")


def _load_curves(file: str) -> dict[str, list[float]]:
    curves: dict[str, list[float]] = json.loads(
        files("lskd_cli.results.figures").joinpath(file).read_text("utf-8")
    )
    return curves


def released_curves(metric: CurveMetric) -> dict[str, list[float]]:
    """The curves of a metric in the released logs, by log name."""
    return published_curves() if metric == "test_top1" else published_losses()


def curve_role(run: Run) -> str:
    """What the curve of a run shows, a key of ``ROLE_COLORS``."""
    if run.preset.standardized:
        return "+Ours"
    return _METHOD_ROLES.get(run.preset.method.name, "plain")


def training_curves(runs: Sequence[Run], metric: CurveMetric) -> Figure:
    """A metric by epoch, with a panel for each method: mean over the seeds, and their range.

    Args:
        runs: runs of one group with at least one finished epoch. The accuracy of the student
            baseline is drawn in the panels of all methods, its loss only in a panel of its own.
        metric: the metric that is drawn.

    The released curves of the standardized method are drawn up to the number of epochs of the runs.
    """
    baselines = [run for run in runs if run.preset.method.name == "none"]
    others = sorted((run for run in runs if run not in baselines), key=table_sort_key)
    names = list(dict.fromkeys(method_name(run) for run in others or runs))
    # The loss of vid, a negative log-likelihood, can be negative.
    is_positive = all(metrics.get("train_loss", 1) > 0 for run in runs for metrics in run.history)
    panel_runs: dict[str, list[Run]] = {}
    for name in names:
        method_runs = [run for run in runs if method_name(run) == name]
        if metric == "test_top1":
            method_runs = [*(run for run in baselines if run not in method_runs), *method_runs]
        panel_runs[name] = method_runs
    epochs = max(run.preset.schedule.epochs for run in runs)
    panel_logs = {name: _logs(panel_runs[name], metric) for name in names}
    rows = {name: curve_rows(panel_runs[name], metric, panel_logs[name], epochs) for name in names}
    all_rows = [row for name in names for row in rows[name]]
    is_log = metric == "train_loss" and is_positive
    chart, overlay = _curve_charts(metric, all_rows, epochs, is_log)
    panels = [
        CurvePanel(
            name,
            chart,
            rows[name],
            panel_runs[name],
            metric,
            panel_logs[name],
            epochs,
            is_log,
            overlay=overlay,
        )
        for name in names
    ]
    is_single = len(panels) == 1
    return Figure(
        panels,
        columns=min(len(panels), 3),
        width=ONE_COLUMN if is_single else TWO_COLUMNS,
        is_folded=metric == "train_loss",
    )


def _logs(runs: Sequence[Run], metric: CurveMetric) -> list[str]:
    logs = dict.fromkeys(run.preset.published.log for run in runs)
    return [log for log in logs if log in released_curves(metric)]


def curve_rows(
    runs: Sequence[Run], metric: CurveMetric, logs: Sequence[str], log_epochs: int
) -> list[Row]:
    """A row for every epoch of every run and released log."""
    rows: list[Row] = []
    for log in logs:
        values = released_curves(metric)[log]
        name = f"published, {len(values)} epochs"
        rows += [
            {
                "run": name,
                "run_name": name,
                "curve": name,
                "role": PUBLISHED,
                "epoch": epoch,
                "value": value,
            }
            for epoch, value in enumerate(values[:log_epochs], 1)
        ]
    for run in runs:
        role, last, curve = curve_role(run), len(run.history), curve_key(run)
        for metrics in run.history:
            row: Row = {
                "run": run.path.as_posix(),
                "run_name": run.preset.run_name,
                "curve": curve,
                "role": role,
                "epoch": metrics["epoch"],
                "value": metrics[metric],
            }
            if metrics["epoch"] == last and not run.is_finished:
                row["unfinished"] = True
            rows.append(row)
    return rows


def value_domain(rows: Sequence[Row], is_log: bool) -> tuple[float, float]:
    """Limits of the vertical axis that contain the values of all panels."""
    low, high = min(row["value"] for row in rows), max(row["value"] for row in rows)
    if is_log:
        ratio = (high / low) ** _MARGIN
        return low / ratio, high * ratio
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _curve_charts(
    metric: CurveMetric, rows: Sequence[Row], epochs: int, is_log: bool
) -> tuple[Chart, Chart]:
    """Mean and range over the seeds by epoch, and an overlay with run and value at the pointer.

    The limits of both axes and the highlighted curve are parameters, which a page changes.
    """
    present = {row["role"] for row in rows}
    names = [name for name in ROLE_COLORS if name in present]
    low, high = value_domain(rows, is_log)
    params = {
        "x_min": 1 if epochs > 1 else 0,
        "x_max": epochs,
        "y_min": low,
        "y_max": high,
        "highlighted_run_name": "",
        "highlighted_run": "",
    }
    hover = alt.selection_point(
        name="hover", fields=["run", "run_name"], on="pointerover", clear="pointerout",
        nearest=True, empty=False,
    )  # fmt: skip
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False)).scale(
        domainMin=alt.ExprRef("x_min"), domainMax=alt.ExprRef("x_max"), nice=False, zero=False
    )
    scale = alt.Scale(
        type="log" if is_log else "linear",
        domainMin=alt.ExprRef("y_min"),
        domainMax=alt.ExprRef("y_max"),
        nice=False,
        zero=alt.Undefined if is_log else False,
    )
    title = _TITLES[metric]
    color = alt.Color("role:N", scale=color_scale(ROLE_COLORS, names), title=None)
    is_faded = "highlighted_run_name != '' && datum.run_name != highlighted_run_name"
    base = alt.Chart(ROWS).encode(x=x, color=color, detail="curve:N")
    band = base.mark_area(clip=True).encode(
        y=alt.Y("min(value):Q", scale=scale, title=title),
        y2="max(value):Q",
        opacity=alt.condition(is_faded, alt.value(0.03), alt.value(0.18)),
    )
    mean = base.mark_line(clip=True).encode(
        y=alt.Y("mean(value):Q", scale=scale, title=title),
        strokeDash=alt.StrokeDash(
            "role:N",
            scale=alt.Scale(
                domain=names, range=[[3, 2] if name == PUBLISHED else [1, 0] for name in names]
            ),
            title=None,
        ),
        opacity=alt.condition(is_faded, alt.value(0.15), alt.value(1)),
    )
    y = alt.Y("value:Q", scale=scale, title=title)
    seed = (
        alt.Chart(ROWS)
        .transform_filter("datum.run == highlighted_run")
        .mark_line(clip=True, strokeWidth=1, strokeDash=[4, 2])
        .encode(x=x, y=y, color=color)
    )
    unfinished = (
        alt.Chart(ROWS)
        .transform_filter("isValid(datum.unfinished)")
        .mark_point(clip=True, filled=False)
        .encode(x=x, y=y, color=color)
    )
    points = (
        alt.Chart(ROWS)
        .mark_circle(clip=True, size=40)
        .encode(
            x=x, y=y, color=color,
            opacity=alt.condition(hover, alt.value(1), alt.value(0)),
            tooltip=_tooltip(metric),
        )
        .transform_filter("x_min <= datum.epoch && datum.epoch <= x_max")
        .add_params(hover)
    )  # fmt: skip
    chart = alt.layer(band, mean, unfinished).add_params(
        *(alt.param(name=name, value=value) for name, value in params.items())
    )
    return chart, alt.layer(seed, points)


def _tooltip(metric: CurveMetric) -> dict[str, object]:
    """Run, epoch and value of the point that is nearest to the pointer.

    Vega-Lite finds it by Voronoi cells, whose ``datum`` is the point, but takes names from
    ``datum`` as if it were the row; hence an expression instead of fields.
    """
    row = "(datum.datum || datum)"
    name, value_format = ("top-1 (%)", ".2f") if metric == "test_top1" else ("loss", ".4f")
    fields = {
        "run": f"{row}.run",
        "epoch": f"{row}.epoch",
        name: f"format({row}.value, '{value_format}')",
    }
    texts = ", ".join(f"'{name}': {value}" for name, value in fields.items())
    return {"value": alt.ExprRef(f"{{{texts}}}")}
