"""The logits of one image, plain and standardized."""

from collections.abc import Sequence

import altair as alt

from lskd_cli.network_outputs import Array, NetworkOutputs
from lskd_cli.results.figures.chart import ROWS, Figure, Panel, Row
from lskd_cli.results.figures.style import COLORS, GREEN, TWO_COLUMNS

_MARGIN = 0.03  # of the range, between bars and frame


def sample_logits(networks: Sequence[NetworkOutputs], sample: int, target: int) -> Figure:
    """Bars of the logits of each network: plain (first row) and standardized (second row).

    Args:
        networks: outputs of the teacher and the students.
        sample: index of the image in these outputs.
        target: class of the image, whose bar is green.
    """
    panels = []
    for field in ("logits", "standardized"):
        logits = [getattr(network, field)[sample] for network in networks]
        low, high = min(0.0, *(float(v.min()) for v in logits)), max(float(v.max()) for v in logits)
        margin = _MARGIN * (high - low)
        limits = [low - margin, high + margin]
        for network, values in zip(networks, logits, strict=True):
            title = f"{network.name}, standardized"
            if field == "logits":
                title = f"{network.name}, std {network.logit_std[sample]:.2f}"
            chart = _bars(COLORS[network.role], target, len(values), limits)
            panels.append(Panel(title, chart, _rows(values)))
    return Figure(panels, columns=len(networks), width=TWO_COLUMNS, aspect=0.7)


def _rows(values: Array) -> list[Row]:
    return [{"class": index, "logit": round(float(value), 4)} for index, value in enumerate(values)]


def _bars(color: str, target: int, num_classes: int, limits: Sequence[float]) -> alt.Chart:
    margin = 1 + _MARGIN * num_classes
    x = alt.Scale(domain=[-margin, num_classes - 1 + margin], nice=False)
    chart: alt.Chart = (
        alt.Chart(ROWS)
        .transform_calculate(start="datum.class - 0.45", end="datum.class + 0.45")
        .mark_rect()
        .encode(
            x=alt.X("start:Q", title="class", scale=x, axis=alt.Axis(grid=False, tickMinStep=1)),
            x2="end:Q",
            y=alt.Y("logit:Q", scale=alt.Scale(domain=list(limits))),
            y2=alt.datum(0),
            color=alt.condition(alt.datum["class"] == target, alt.value(GREEN), alt.value(color)),
            tooltip=["class:Q", alt.Tooltip("logit:Q", format=".2f")],
        )
    )
    return chart
