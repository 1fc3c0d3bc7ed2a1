"""Two students ranked by accuracy, by KL at a shared temperature, and by standardized KL."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import altair as alt
import numpy as np
from scipy.special import rel_entr, softmax
from scipy.stats import zscore

from lskd_cli.network_outputs import Array, NetworkOutputs, OutputSet
from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, Row
from lskd_cli.results.figures.style import COLORS, GREEN, TWO_COLUMNS, VERMILION


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
    colors = {student.name: COLORS[student.role] for student in pair}
    panels = [Panel(title, _bars(unit), _rows(colors, values)) for title, unit, values in panels_of]
    return Figure(panels, columns=3, width=TWO_COLUMNS, aspect=0.7)


def _rows(colors: Mapping[str, str], values: Iterable[float | None]) -> list[Row]:
    return [
        {"name": name, "value": value, "color": color}
        for (name, color), value in zip(colors.items(), values, strict=True)
    ]


def _bars(title: str, top: float | None = None) -> Chart:
    scale = alt.Scale(domain=[0, top], nice=False) if top else alt.Scale()
    base = alt.Chart(ROWS).encode(
        x=alt.X("name:N", title=None, sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("value:Q", title=title, scale=scale),
    )
    bars = base.mark_bar().encode(
        color=alt.Color("color:N", scale=None),
        tooltip=["name:N", alt.Tooltip("value:Q", title=title, format=".4g")],
    )
    return alt.layer(bars, base.mark_text(dy=-5).encode(text=alt.Text("value:Q", format=".4g")))


# Logits of three classes. Student 1 has the range of the teacher's logits and another prediction;
# student 2 has the relations of the teacher's logits with an eighth of their range.
TOY = {"teacher": (8.0, 4.0, 2.0), "student 1": (7.5, 7.8, 2.0), "student 2": (1.0, 0.5, 0.25)}
_TOY_TEMPERATURE = 4.0


def toy_figure() -> Figure:
    """Invented logits of one image: the student with the wrong prediction seems closer.

    The divergences in the titles are in nats, at temperature 4 (``_TOY_TEMPERATURE``).
    The example follows the toy case of Sun et al. (CVPR 2024), with different numbers.
    """
    logits = {name: np.array(values) for name, values in TOY.items()}
    classes = ("class 1", "class 2", "class 3")
    chart = _bars("logit", top=1.1 * max(map(max, TOY.values())))
    panels = []
    for (name, values), color in zip(
        logits.items(), (GREEN, VERMILION, COLORS["plain"]), strict=True
    ):
        title = name
        if name != "teacher":
            shared, standardized = toy_divergences(logits["teacher"], values)
            title = f"{name}: KL {shared:.3f}, standardized {standardized:.3f}"
        rows = _rows(dict.fromkeys(classes, color), map(float, values))
        panels.append(Panel(title, chart, rows))
    return Figure(panels, columns=3, width=TWO_COLUMNS, aspect=0.7)


def toy_divergences(teacher: Array, student: Array) -> tuple[float, float]:
    """KL(teacher || student) in nats at the toy temperature, of plain and standardized logits."""
    pairs = ((teacher, student), (zscore(teacher, ddof=1), zscore(student, ddof=1)))
    shared, standardized = (
        float(rel_entr(softmax(t / _TOY_TEMPERATURE), softmax(s / _TOY_TEMPERATURE)).sum())
        for t, s in pairs
    )
    return shared, standardized
