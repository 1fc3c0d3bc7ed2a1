"""Differences between the logits of teacher and students, by class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lskd_cli.network_outputs import Array, NetworkOutputs
from lskd_cli.results.figures.style import TWO_COLUMNS, styled


def class_differences(
    teacher: NetworkOutputs, students: Sequence[NetworkOutputs], targets: Array
) -> tuple[Figure, str]:
    """Heat maps of plain logits (first row) and standardized logits (second row).

    Args:
        teacher: outputs of the teacher.
        students: outputs of the students, with a column each.
        targets: (N,) classes of the images.

    Returns:
        The figure, and a text with its largest and mean values.
    """
    summary = []
    with styled():
        figure = Figure(figsize=(min(TWO_COLUMNS, 1 + 2.6 * len(students)), 5.2))
        panels = figure.subplots(2, len(students), sharex=True, sharey=True, squeeze=False)
        for row, field in enumerate(("logits", "standardized")):
            maps = [
                _mean_differences(getattr(teacher, field), getattr(student, field), targets)
                for student in students
            ]
            top = max(float(np.nanmax(values)) for values in maps)
            for axes, student, values in zip(panels[row], students, maps, strict=True):
                image = axes.imshow(values, vmin=0, vmax=top, cmap="viridis", rasterized=True)
                axes.grid(visible=False)
                extremes = f"max {np.nanmax(values):.2f}, mean {np.nanmean(values):.2f}"
                axes.set_title(f"{student.name}, {field}\n{extremes}")
                summary.append(f"{student.name}, {field}: {extremes}")
            figure.colorbar(image, ax=list(panels[row]), shrink=0.8, label="mean |difference|")
        for axes in panels[:, 0]:
            axes.set_ylabel("class of the image")
        for axes in panels[1]:
            axes.set_xlabel("logit of class")
    return figure, "; ".join(summary)


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
