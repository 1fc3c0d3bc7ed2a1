"""Differences between the logits of teacher and students, by class."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from lskd_cli.network_outputs import Array, NetworkOutputs
from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, Row
from lskd_cli.results.figures.style import TWO_COLUMNS

_MAX_CELLS = 100  # in a row; neighboring classes are averaged if there are more


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
    summary, panels = [], []
    for field in ("logits", "standardized"):
        maps = [
            _class_differences(getattr(teacher, field), getattr(student, field), targets)
            for student in students
        ]
        top = max(float(np.nanmax(values)) for values in maps)
        size = -(-len(maps[0]) // _MAX_CELLS)
        chart = _heat_map(top, size)
        for student, values in zip(students, maps, strict=True):
            extremes = f"max {np.nanmax(values):.2f}, mean {np.nanmean(values):.2f}"
            summary.append(f"{student.name}, {field}: {extremes}")
            panels.append(Panel(f"{student.name}, {field}", chart, _cells(values, size)))
    width = min(TWO_COLUMNS, 1 + 2.6 * len(students))
    text = "; ".join(summary)
    if size > 1:
        text += f"; each cell is the mean of a square of {size} classes"
    figure = Figure(panels, columns=len(students), width=width, aspect=1.0, has_row_scales=True)
    return figure, text


def _class_differences(teacher: Array, student: Array, targets: Array) -> Array:
    """(C, C): |mean of the student - mean of the teacher| of each logit over each class's images.

    The diagonal is 0, as in the figure of the paper.
    """
    differences = student - teacher
    values = np.stack(
        [
            np.abs(differences[targets == c].mean(axis=0))
            if (targets == c).any()
            else np.full(differences.shape[1], np.nan)
            for c in range(differences.shape[1])
        ]
    )
    np.fill_diagonal(values, np.where(np.isnan(values.diagonal()), np.nan, 0.0))
    return values


def _cells(values: Array, size: int) -> list[Row]:
    """A row for each block of classes; blocks without images are left out."""
    count = len(values)
    return [
        {"target": i, "logit": j, "difference": round(float(np.nanmean(block)), 4)}
        for i in range(0, count, size)
        for j in range(0, count, size)
        for block in [values[i : i + size, j : j + size]]
        if np.isfinite(block).any()
    ]


def _heat_map(top: float, size: int) -> Chart:
    scale = alt.Scale(nice=False, zero=False)
    reversed_scale = alt.Scale(nice=False, zero=False, reverse=True)
    grid = alt.Axis(grid=False, tickMinStep=1)
    chart: alt.Chart = (
        alt.Chart(ROWS)
        .transform_calculate(
            left="datum.logit - 0.5",
            right=f"datum.logit + {size - 0.5}",
            top="datum.target - 0.5",
            bottom=f"datum.target + {size - 0.5}",
        )
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("left:Q", title="logit of class", scale=scale, axis=grid),
            x2="right:Q",
            y=alt.Y("top:Q", title="class of the image", scale=reversed_scale, axis=grid),
            y2="bottom:Q",
            color=alt.Color(
                "difference:Q",
                title="|difference of means|",
                scale=alt.Scale(scheme="viridis", domain=[0, top]),
            ),
            tooltip=[
                alt.Tooltip("target:Q", title="class of the image"),
                alt.Tooltip("logit:Q", title="logit of class"),
                alt.Tooltip("difference:Q", title="|difference of means|", format=".2f"),
            ],
        )
    )
    return chart
