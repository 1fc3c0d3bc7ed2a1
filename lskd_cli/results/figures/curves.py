"""Accuracy by epoch."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lskd_cli.results.comparison import METHOD_NAMES, method_name
from lskd_cli.results.figures.style import (
    ALONE,
    BLACK,
    LOCALITY,
    ONE_COLUMN,
    OURS,
    PLAIN,
    TWO_COLUMNS,
    styled,
)
from lskd_cli.results.runs import Run

_HEIGHT = 2.3  # inches of a row of panels
_COLOURS = {"none": ALONE, "guidance": LOCALITY}


@cache
def published_curves() -> dict[str, list[float]]:
    """Top-1 test accuracy (%) by epoch of the released logs, by their names."""
    text = files("lskd_cli.results").joinpath("published_curves.json").read_text("utf-8")
    curves: dict[str, list[float]] = json.loads(text)
    return curves


def accuracy_curves(runs: Sequence[Run]) -> Figure:
    """Test accuracy by epoch: a panel for each method, the student alone in all of them.

    Args:
        runs: of one setting, each with history; any methods and seeds.

    The released curve of the standardized method is drawn up to the runs' length.
    """
    alone = [run for run in runs if run.preset.method.name == "none"]
    methods = dict.fromkeys(run.preset.method.name for run in runs if run not in alone)
    names = [name for name in METHOD_NAMES if name in methods] or ["none"]
    width = ONE_COLUMN if len(names) == 1 else TWO_COLUMNS
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    with styled():
        figure = Figure(figsize=(width, _HEIGHT * lines))
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
        for axes, name in zip(panels, names, strict=False):
            of_method = [run for run in runs if run.preset.method.name == name]
            _panel(axes, [*of_method, *(run for run in alone if run not in of_method)])
            axes.set_title(METHOD_NAMES[name])
        for axes in panels[::columns]:
            axes.set_ylabel("top-1 test accuracy (%)")
        for axes in panels[len(names) :]:
            axes.set_visible(False)
    return figure


def _panel(axes: Axes, runs: Sequence[Run]) -> None:
    _released(axes, runs)
    named = set()
    for run in sorted(runs, key=lambda run: (bool(run.preset.teacher), run.preset.standardized)):
        preset = run.preset
        label = method_name(preset) + ("+Ours" if preset.standardized else "")
        colour = OURS if preset.standardized else _COLOURS.get(preset.method.name, PLAIN)
        axes.plot(
            [record["epoch"] for record in run.history],
            [record["test_top1"] for record in run.history],
            color=colour,
            marker="o" if len(run.history) < 40 else None,
            label=None if label in named else label,
        )
        named.add(label)
    axes.set_xlabel("epoch")
    axes.set_xlim(0, 1.02 * runs[0].preset.schedule.epochs)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")


def _released(axes: Axes, runs: Iterable[Run]) -> None:
    """Every released log of the runs' presets once, under the runs."""
    longest = max(run.preset.schedule.epochs for run in runs)
    for run in {run.preset.published.log: run for run in runs}.values():
        whole = published_curves().get(run.preset.published.log or "")
        if whole:
            label = f"{method_name(run.preset)}+Ours, published"
            if len(whole) > longest:
                label += f"\n(of {len(whole)} epochs)"
            curve = whole[:longest]
            axes.plot(
                range(1, len(curve) + 1),
                curve,
                color=BLACK,
                linestyle=":",
                linewidth=1,
                label=label,
            )
