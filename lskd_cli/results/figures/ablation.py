"""Heat map of the accuracy by base temperature and weight of the distillation loss."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lskd_cli.results.figures.style import ONE_COLUMN, VERMILION, styled


def ablation_figure(
    accuracies: Mapping[tuple[float, float], float],
    plain: float | None,
    default: tuple[float, float] | None,
) -> Figure:
    """A heat map of accuracies in percent.

    Args:
        accuracies: mean over seeds for each base temperature and weight; missing ones are blank.
        plain: accuracy of the plain method, drawn as a line on the color bar.
        default: base temperature and weight of the preset, drawn as a frame.
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
        if plain is not None:
            image.set_clim(min(np.nanmin(values), plain), max(np.nanmax(values), plain))
        middle = sum(image.get_clim()) / 2
        for (row, column), accuracy in np.ndenumerate(values):
            if np.isfinite(accuracy):
                color = "#FFFFFF" if accuracy < middle else "#010101"
                axes.text(column, row, f"{accuracy:.2f}", ha="center", va="center", color=color)
        if default and default in accuracies:
            corner = weights.index(default[1]) - 0.5, temperatures.index(default[0]) - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
        bar = figure.colorbar(image, label="top-1 test accuracy (%)")
        if plain is not None:
            bar.ax.axhline(plain, color=VERMILION, linewidth=2)
            bar.ax.set_title("plain", color=VERMILION)
    return figure
