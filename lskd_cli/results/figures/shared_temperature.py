"""Why one temperature for teacher and students can mislead: two students, ranked three times."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure
from scipy.special import rel_entr, softmax
from scipy.stats import zscore

from lskd_cli.outputs import Array, Exhibit, Outputs
from lskd_cli.results.figures.style import COLOURS, GREEN, TWO_COLUMNS, VERMILION, styled


def misjudged(networks: Sequence[Outputs]) -> tuple[Outputs, Outputs] | None:
    """The two students that a shared temperature ranks wrongly, and standardization rightly.

    Of several such pairs, the one whose accuracies differ most; the more accurate student second.
    """
    students = [network for network in networks if network.kind != "teacher"]
    found = [
        (worse, better)
        for one, other in combinations(students, 2)
        for worse, better in [sorted((one, other), key=lambda network: network.top1)]
        if worse.top1 < better.top1
        if worse.kl is not None and better.kl is not None and worse.kl < better.kl
        if (worse.kl_standardized or 0) > (better.kl_standardized or 0)
    ]
    return max(found, key=lambda pair: pair[1].top1 - pair[0].top1, default=None)


def two_students(pair: tuple[Outputs, Outputs], shown: Exhibit) -> Figure:
    """Accuracy and both divergences of two students, as bars."""
    t = f"{shown.temperature:g}"
    panels_of = (
        ("accuracy", "%", [one.top1 for one in pair]),
        (f"KL at temperature {t}", "nats", [one.kl for one in pair]),
        (f"KL standardized, at {t}", "nats", [one.kl_standardized for one in pair]),
    )
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.2))
        for axes, (title, unit, values) in zip(figure.subplots(1, 3), panels_of, strict=True):
            bars = axes.bar(
                [one.name for one in pair], values, color=[COLOURS[one.kind] for one in pair]
            )
            axes.bar_label(bars, fmt="%.4g")
            axes.margins(y=0.15)
            axes.set_title(title)
            axes.set_ylabel(unit)
            axes.grid(visible=False)
    return figure


# Logits of three classes. The first student has the teacher's range and another answer, the second
# the teacher's relations at an eighth of its range.
TOY = {"teacher": (8.0, 4.0, 2.0), "student 1": (7.5, 7.8, 2.0), "student 2": (1.0, 0.5, 0.25)}
_TOY_TEMPERATURE = 4.0


def toy_case() -> Figure:
    """Made-up logits of one image: the student with the wrong answer seems nearer to the teacher.

    After the toy case of Sun et al. (CVPR 2024), with numbers of our own.
    """
    logits = {name: np.array(values) for name, values in TOY.items()}
    teacher = logits["teacher"]
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.2))
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (name, values), colour in zip(
            panels, logits.items(), (GREEN, VERMILION, COLOURS["plain"]), strict=True
        ):
            axes.bar(["class 1", "class 2", "class 3"], values, color=colour)
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
    """KL(teacher || student) in nats at the toy's temperature, of logits and standardized ones."""
    pairs = ((teacher, student), (zscore(teacher, ddof=1), zscore(student, ddof=1)))
    shared, standardized = (
        float(rel_entr(softmax(t / _TOY_TEMPERATURE), softmax(s / _TOY_TEMPERATURE)).sum())
        for t, s in pairs
    )
    return shared, standardized
