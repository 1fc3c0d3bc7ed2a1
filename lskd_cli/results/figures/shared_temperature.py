"""Two students ranked by accuracy, by KL at a shared temperature, and by standardized KL."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure
from scipy.special import rel_entr, softmax
from scipy.stats import zscore

from lskd_cli.network_outputs import Array, NetworkOutputs, OutputSet
from lskd_cli.results.figures.style import COLORS, GREEN, TWO_COLUMNS, VERMILION, styled


def misranked_pair(
    networks: Sequence[NetworkOutputs],
) -> tuple[NetworkOutputs, NetworkOutputs] | None:
    """A pair of students that a shared temperature ranks wrongly, and standardization correctly.

    Pairs of distilled students are preferred to pairs with the student baseline; among them, the
    pair with the largest difference of accuracies is selected.

    Returns:
        The less accurate and the more accurate student, or None if there is no such pair.
    """
    students = [network for network in networks if network.role != "teacher"]
    pairs = [
        (worse, better)
        for first, second in combinations(students, 2)
        for worse, better in [sorted((first, second), key=lambda network: network.top1)]
        if worse.top1 < better.top1
        if worse.kl is not None and better.kl is not None and worse.kl < better.kl
        if (worse.kl_standardized or 0) > (better.kl_standardized or 0)
    ]
    distilled = [pair for pair in pairs if all(s.role != "baseline" for s in pair)]
    return max(distilled or pairs, key=lambda pair: pair[1].top1 - pair[0].top1, default=None)


def pair_figure(pair: tuple[NetworkOutputs, NetworkOutputs], outputs: OutputSet) -> Figure:
    """Bars of the accuracy and both divergences of two students."""
    t = f"{outputs.temperature:g}"
    panels_of = (
        ("accuracy", "%", [student.top1 for student in pair]),
        (f"KL at temperature {t}", "nats", [student.kl for student in pair]),
        (f"KL standardized, at {t}", "nats", [student.kl_standardized for student in pair]),
    )
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.2))
        for axes, (title, unit, values) in zip(figure.subplots(1, 3), panels_of, strict=True):
            bars = axes.bar(
                [student.name for student in pair],
                values,
                color=[COLORS[student.role] for student in pair],
            )
            axes.bar_label(bars, fmt="%.4g")
            axes.margins(y=0.15)
            axes.set_title(title)
            axes.set_ylabel(unit)
            axes.grid(visible=False)
    return figure


# Logits of three classes. Student 1 has the range of the teacher's logits and another prediction;
# student 2 has the relations of the teacher's logits with an eighth of their range.
TOY = {"teacher": (8.0, 4.0, 2.0), "student 1": (7.5, 7.8, 2.0), "student 2": (1.0, 0.5, 0.25)}
_TOY_TEMPERATURE = 4.0


def toy_figure() -> Figure:
    """Invented logits of one image: the student with the wrong prediction seems closer.

    The example follows the toy case of Sun et al. (CVPR 2024), with different numbers.
    """
    logits = {name: np.array(values) for name, values in TOY.items()}
    teacher = logits["teacher"]
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.2))
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (name, values), color in zip(
            panels, logits.items(), (GREEN, VERMILION, COLORS["plain"]), strict=True
        ):
            axes.bar(["class 1", "class 2", "class 3"], values, color=color)
            axes.set_title(name)
            if name != "teacher":
                shared, standardized = toy_divergences(teacher, values)
                axes.set_xlabel(
                    f"KL {shared:.3f} at temperature {_TOY_TEMPERATURE:g}\n"
                    f"KL {standardized:.3f} of standardized logits"
                )
        panels[0].set_ylabel("logit")
    return figure


def toy_divergences(teacher: Array, student: Array) -> tuple[float, float]:
    """KL(teacher || student) in nats at the toy temperature, of plain and standardized logits."""
    pairs = ((teacher, student), (zscore(teacher, ddof=1), zscore(student, ddof=1)))
    shared, standardized = (
        float(rel_entr(softmax(t / _TOY_TEMPERATURE), softmax(s / _TOY_TEMPERATURE)).sum())
        for t, s in pairs
    )
    return shared, standardized
