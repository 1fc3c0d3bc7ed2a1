"""How far students' logits are from their teacher's, class by class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lskd_cli.outputs import Array, Outputs
from lskd_cli.results.figures.style import TWO_COLUMNS, styled


def class_differences(
    teacher: Outputs, students: Sequence[Outputs], targets: Array
) -> tuple[Figure, str]:
    """Heat maps, above of the logits as they are, below standardized; one scale for each row.

    A column for each student; ``targets`` are the (N,) classes of the images.

    Returns:
        The figure, and its greatest and mean values in words.
    """
    told = []
    with styled():
        figure = Figure(figsize=(min(TWO_COLUMNS, 1 + 2.6 * len(students)), 5.2))
        panels = figure.subplots(2, len(students), sharex=True, sharey=True, squeeze=False)
        for row, (words, of) in enumerate((("logits", "logits"), ("standardized", "standardized"))):
            maps = [
                _mean_differences(getattr(teacher, of), getattr(student, of), targets)
                for student in students
            ]
            top = max(float(np.nanmax(values)) for values in maps)
            for axes, student, values in zip(panels[row], students, maps, strict=True):
                image = axes.imshow(values, vmin=0, vmax=top, cmap="viridis", rasterized=True)
                axes.grid(visible=False)
                extremes = f"max {np.nanmax(values):.2f}, mean {np.nanmean(values):.2f}"
                axes.set_title(f"{student.name}, {words}\n{extremes}")
                told.append(f"{student.name}, {words}: {extremes}")
            figure.colorbar(image, ax=list(panels[row]), shrink=0.8, label="mean |difference|")
        for axes in panels[:, 0]:
            axes.set_ylabel("class of the image")
        for axes in panels[1]:
            axes.set_xlabel("logit of class")
    return figure, "; ".join(told)


def _mean_differences(teacher: Array, student: Array, targets: Array) -> Array:
    """(C, C): mean |teacher - student| of each logit over the images of each class."""
    differences = np.abs(teacher - student)
    return np.stack(
        [
            differences[targets == c].mean(axis=0)
            if (targets == c).any()
            else np.full(differences.shape[1], np.nan)
            for c in range(differences.shape[1])
        ]
    )
