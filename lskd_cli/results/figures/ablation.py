"""Accuracy over base temperature and weight of the distillation loss."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lskd_cli.results.figures.style import ONE_COLUMN, VERMILION, styled


def ablation(
    accuracies: Mapping[tuple[float, float], float],
    baseline: float | None,
    own: tuple[float, float] | None,
) -> Figure:
    """A heat map of accuracies in percent.

    Args:
        accuracies: by base temperature and weight, means over seeds; missing ones are left blank.
        baseline: accuracy of the method alone, marked in the scale.
        own: temperature and weight of the preset, framed.
    """
    temperatures = sorted({temperature for temperature, _ in accuracies})
    weights = sorted({weight for _, weight in accuracies})
    values = np.array(
        [[accuracies.get((t, w), np.nan) for w in weights] for t in temperatures], dtype=float
    )
    with styled():
        figure = Figure(figsize=(ONE_COLUMN, 2.8))
        axes = figure.subplots()
        image = axes.imshow(values, cmap="viridis", aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
        axes.set_yticks(range(len(temperatures)), [f"{t:g}" for t in temperatures])
        axes.set_xlabel("weight of the distillation loss")
        axes.set_ylabel("base temperature")
        if baseline is not None:
            image.set_clim(min(np.nanmin(values), baseline), max(np.nanmax(values), baseline))
        middle = sum(image.get_clim()) / 2
        for (row, column), accuracy in np.ndenumerate(values):
            if np.isfinite(accuracy):
                colour = "#FFFFFF" if accuracy < middle else "#010101"
                axes.text(column, row, f"{accuracy:.2f}", ha="center", va="center", color=colour)
        if own and own in accuracies:
            place = weights.index(own[1]) - 0.5, temperatures.index(own[0]) - 0.5
            axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
        bar = figure.colorbar(image, label="top-1 test accuracy (%)")
        if baseline is not None:
            bar.ax.axhline(baseline, color=VERMILION, linewidth=2)
            bar.ax.set_title("plain", color=VERMILION)
    return figure
