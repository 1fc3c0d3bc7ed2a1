"""The data of a page: the metrics of all runs, once, and the panels of all figures."""

import json
from collections.abc import Sequence
from typing import Any

from lskd_cli.results.figures.chart import Figure, Panel, Row
from lskd_cli.results.figures.curves import (
    PUBLISHED,
    ROLE_COLORS,
    CurveMetric,
    CurvePanel,
    curve_role,
    released_curves,
)
from lskd_cli.results.grouping import curve_key
from lskd_cli.results.runs import Run

_METRICS: tuple[CurveMetric, ...] = ("test_top1", "train_loss")
_DIGITS = 5  # significant digits of the metrics


def page_data(runs: Sequence[Run], figures: Sequence[Figure]) -> str:
    """The data as JSON that may stand in a ``<script>`` element.

    The specification of panels with the same chart and the metrics of runs are stored once; panels
    refer to them.
    """
    specs: list[dict[str, Any]] = []
    indices: dict[tuple[int, int], int] = {}  # by the identities of chart and overlay
    panels: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        for panel in figure.panels:
            key = id(panel.chart), id(panel.overlay)
            if key not in indices:
                indices[key] = len(specs)
                specs.append(panel.spec())
            panels.setdefault(figure.name, []).append(_panel(panel, indices[key]))
    data = {
        "runs": {run.path.as_posix(): _run(run) for run in runs},
        "released": _released(figures),
        "released_role": PUBLISHED,
        "role_colors": ROLE_COLORS,
        "specs": specs,
        "panels": panels,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _run(run: Run) -> dict[str, Any]:
    values: dict[str, Any] = {
        metric: [float(f"{metrics[metric]:.{_DIGITS}g}") for metrics in run.history]
        for metric in _METRICS
    }
    if not run.is_finished:
        values["unfinished"] = True
    names = {"run_name": run.preset.run_name, "curve": curve_key(run)}
    return values | names | {"role": curve_role(run)}


def _released(figures: Sequence[Figure]) -> dict[CurveMetric, dict[str, list[float]]]:
    curves: dict[CurveMetric, dict[str, list[float]]] = {metric: {} for metric in _METRICS}
    for panel in (panel for figure in figures for panel in figure.panels):
        if isinstance(panel, CurvePanel):
            released = released_curves(panel.metric)
            curves[panel.metric] |= {log: released[log] for log in panel.logs}
    return curves


def _panel(panel: Panel, spec: int) -> dict[str, Any]:
    values: dict[str, Any] = {"title": panel.title, "spec": spec}
    if isinstance(panel, CurvePanel):
        return values | {
            "runs": [run.path.as_posix() for run in panel.runs],
            "metric": panel.metric,
            "logs": panel.logs,
            "epochs": panel.epochs,
            "is_log": panel.is_log,
        }
    if panel.row_height is not None:
        values["row_height"] = panel.row_height
    return values | {"columns": _by_column(panel.rows)}


def _by_column(rows: Sequence[Row]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
