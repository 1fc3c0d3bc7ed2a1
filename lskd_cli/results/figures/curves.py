"""Curves of accuracy and loss by epoch."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lskd_cli.results.figures.style import (
    BASELINE,
    BLACK,
    LOCALITY,
    ONE_COLUMN,
    PLAIN,
    STANDARDIZED,
    TWO_COLUMNS,
    styled,
)
from lskd_cli.results.grouping import method_label, method_name, table_sort_key
from lskd_cli.results.runs import Run

_HEIGHT = 3.8  # inches, of two rows of panels
_COLORS = {"none": BASELINE, "guidance": LOCALITY}


@cache
def published_curves() -> dict[str, list[float]]:
    """Top-1 test accuracy (%) by epoch of the released logs, by log name."""
    return _load_curves("published_curves.json")


@cache
def published_losses() -> dict[str, list[float]]:
    """Training loss by epoch of the released logs that contain it, by log name."""
    return _load_curves("published_losses.json")


def _load_curves(file: str) -> dict[str, list[float]]:
    curves: dict[str, list[float]] = json.loads(
        files("lskd_cli.results").joinpath(file).read_text("utf-8")
    )
    return curves


def training_curves(runs: Sequence[Run]) -> Figure:
    """Test accuracy and training loss by epoch, with a column for each method.

    Args:
        runs: runs of one group with at least one finished epoch. The accuracy of the student
            baseline is drawn in the panels of all methods, its loss only in a panel of its own.

    The released curves of the standardized method are drawn up to the number of epochs of the runs.
    """
    baselines = [run for run in runs if run.preset.method.name == "none"]
    others = sorted((run for run in runs if run not in baselines), key=table_sort_key)
    names = list(dict.fromkeys(method_name(run) for run in others or runs))
    # The loss of vid, a negative log-likelihood, can be negative.
    is_positive = all(metrics.get("train_loss", 1) > 0 for run in runs for metrics in run.history)
    scale = "log" if is_positive else "linear"
    columns = min(len(names), 3)
    num_rows = -(-len(names) // columns)
    with styled():
        size = (ONE_COLUMN if len(names) == 1 else TWO_COLUMNS, _HEIGHT * num_rows)
        figure = Figure(figsize=size)
        panels = figure.subplots(
            2 * num_rows, columns, sharey="row", squeeze=False, height_ratios=[3, 2] * num_rows
        )
        accuracy_panels, loss_panels = panels[::2].flatten(), panels[1::2].flatten()
        for accuracy, loss, name in zip(accuracy_panels, loss_panels, names, strict=False):
            method_runs = [run for run in runs if method_name(run) == name]
            other_baselines = [run for run in baselines if run not in method_runs]
            accuracy_runs = [*other_baselines, *method_runs]
            _draw_panel(accuracy, accuracy_runs, "test_top1", published_curves())
            _draw_panel(loss, method_runs, "train_loss", published_losses())
            accuracy.set_title(name)
            accuracy.legend(loc="lower right")
            loss.set_yscale(scale)
            loss.set_xlabel("epoch")
        for accuracy, loss in zip(accuracy_panels[::columns], loss_panels[::columns], strict=True):
            accuracy.set_ylabel("top-1 test accuracy (%)")
            loss.set_ylabel("training loss")
        for axes in (*accuracy_panels[len(names) :], *loss_panels[len(names) :]):
            axes.set_visible(False)
    return figure


def _draw_panel(
    axes: Axes, runs: Sequence[Run], key: str, released: Mapping[str, Sequence[float]]
) -> None:
    """Draw a metric of the runs over the curve of every released log."""
    longest = runs[-1].preset.schedule.epochs
    for run in {run.preset.published.log: run for run in runs}.values():
        curve = released.get(run.preset.published.log or "")
        if curve:
            label = f"{method_name(run)}+Ours, published"
            if len(curve) > longest:
                label += f"\n({len(curve)} epochs)"
            drawn = curve[:longest]
            axes.plot(
                range(1, len(drawn) + 1),
                drawn,
                color=BLACK,
                linestyle=":",
                linewidth=1,
                label=label,
            )
    labels = set()
    for run in sorted(runs, key=lambda run: (bool(run.preset.teacher), run.preset.standardized)):
        preset = run.preset
        label = method_label(run)
        axes.plot(
            [metrics["epoch"] for metrics in run.history],
            [metrics[key] for metrics in run.history],
            color=STANDARDIZED if preset.standardized else _COLORS.get(preset.method.name, PLAIN),
            marker="o" if len(run.history) < 40 else None,
            label=None if label in labels else label,
        )
        labels.add(label)
    axes.set_xlim(0, 1.02 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
