"""Two students ranked by accuracy, by KL at a shared temperature, and by standardized KL."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import altair as alt

from lskd_cli.network_outputs import NetworkOutputs, OutputSet
from lskd_cli.results.figures.chart import ROWS, Chart, Figure, Panel, Row
from lskd_cli.results.figures.style import COLORS, TWO_COLUMNS


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


def _bars(title: str) -> Chart:
    base = alt.Chart(ROWS).encode(
        x=alt.X("name:N", title=None, sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("value:Q", title=title),
    )
    bars = base.mark_bar().encode(
        color=alt.Color("color:N", scale=None),
        tooltip=["name:N", alt.Tooltip("value:Q", title=title, format=".4g")],
    )
    return alt.layer(bars, base.mark_text(dy=-5).encode(text=alt.Text("value:Q", format=".4g")))
