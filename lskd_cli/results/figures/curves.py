"""Accuracy and loss by epoch."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lskd_cli.results.comparison import arm_name, in_tables, method_name
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

_HEIGHT = 3.8  # inches of two rows of panels
_COLOURS = {"none": ALONE, "guidance": LOCALITY}


@cache
def published_curves() -> dict[str, list[float]]:
    """Top-1 test accuracy (%) by epoch of the released logs, by their names."""
    return _released("published_curves.json")


@cache
def published_losses() -> dict[str, list[float]]:
    """Training loss by epoch of those released logs that tell it, by their names."""
    return _released("published_losses.json")


def _released(file: str) -> dict[str, list[float]]:
    curves: dict[str, list[float]] = json.loads(
        files("lskd_cli.results").joinpath(file).read_text("utf-8")
    )
    return curves


def training_curves(runs: Sequence[Run]) -> Figure:
    """Test accuracy by epoch, and training loss below: a panel for each method.

    Args:
        runs: of one setting, each with history; any methods and seeds. The student alone is beside
            the accuracy of all methods; its loss is another.

    The released curves of the standardized method are drawn up to the runs' length.
    """
    alone = [run for run in runs if run.preset.method.name == "none"]
    others = sorted((run for run in runs if run not in alone), key=in_tables)
    names = list(dict.fromkeys(method_name(run.preset) for run in others or runs))
    # A likelihood, as vid's loss, may be below 0.
    is_positive = all(record.get("train_loss", 1) > 0 for run in runs for record in run.history)
    scale = "log" if is_positive else "linear"
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    with styled():
        size = (ONE_COLUMN if len(names) == 1 else TWO_COLUMNS, _HEIGHT * lines)
        figure = Figure(figsize=size)
        rows = figure.subplots(
            2 * lines, columns, sharey="row", squeeze=False, height_ratios=[3, 2] * lines
        )
        above, below = rows[::2].flatten(), rows[1::2].flatten()
        for accuracy, loss, name in zip(above, below, names, strict=False):
            of_method = [run for run in runs if method_name(run.preset) == name]
            beside = [run for run in alone if run not in of_method]
            _panel(accuracy, [*beside, *of_method], "test_top1", published_curves())
            _panel(loss, of_method, "train_loss", published_losses())
            accuracy.set_title(name)
            accuracy.legend(loc="lower right")
            loss.set_yscale(scale)
            loss.set_xlabel("epoch")
        for accuracy, loss in zip(above[::columns], below[::columns], strict=True):
            accuracy.set_ylabel("top-1 test accuracy (%)")
            loss.set_ylabel("training loss")
        for axes in (*above[len(names) :], *below[len(names) :]):
            axes.set_visible(False)
    return figure


def _panel(
    axes: Axes, runs: Sequence[Run], key: str, released: Mapping[str, Sequence[float]]
) -> None:
    """What the records of the runs have under a key, over every released log once."""
    longest = runs[-1].preset.schedule.epochs
    for run in {run.preset.published.log: run for run in runs}.values():
        whole = released.get(run.preset.published.log or "")
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
    named = set()
    for run in sorted(runs, key=lambda run: (bool(run.preset.teacher), run.preset.standardized)):
        preset = run.preset
        label = arm_name(preset)
        axes.plot(
            [record["epoch"] for record in run.history],
            [record[key] for record in run.history],
            color=OURS if preset.standardized else _COLOURS.get(preset.method.name, PLAIN),
            marker="o" if len(run.history) < 40 else None,
            label=None if label in named else label,
        )
        named.add(label)
    axes.set_xlim(0, 1.02 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
