"""Heat map of the accuracy by base temperature and weight of the distillation loss."""

from collections.abc import Mapping

import altair as alt

from lskd_cli.results.figures.chart import ROWS, Figure, Panel
from lskd_cli.results.figures.style import ONE_COLUMN, VERMILION


def ablation_figure(
    accuracies: Mapping[tuple[float, float], float],
    plain: float | None,
    default: tuple[float, float] | None,
) -> Figure:
    """A heat map of accuracies in percent.

    Args:
        accuracies: mean over seeds for each base temperature and weight; missing ones are blank.
        plain: accuracy of the plain method, which is part of the color scale.
        default: base temperature and weight of the preset, drawn as a frame.
    """
    rows = [
        {
            "temperature": f"{temperature:g}",
            "weight": f"{weight:g}",
            "accuracy": round(accuracy, 4),
            "difference": None if plain is None else round(accuracy - plain, 4),
            "default": (temperature, weight) == default,
        }
        for (temperature, weight), accuracy in accuracies.items()
    ]
    values = [*accuracies.values(), *([] if plain is None else [plain])]
    low, high = min(values), max(values)
    base = alt.Chart(ROWS).encode(
        x=alt.X(
            "weight:O",
            title="weight of the distillation loss",
            sort=[f"{weight:g}" for weight in sorted({weight for _, weight in accuracies})],
            axis=alt.Axis(labelAngle=0),
        ),
        y=alt.Y(
            "temperature:O",
            title="base temperature",
            sort=[f"{t:g}" for t in sorted({temperature for temperature, _ in accuracies})],
        ),
    )
    minus_plain = alt.Tooltip("difference:Q", title="minus plain", format="+.2f")
    cells = base.mark_rect().encode(
        color=alt.Color(
            "accuracy:Q",
            title="top-1 (%)",
            scale=alt.Scale(scheme="viridis", domain=[low, high]),
        ),
        tooltip=[
            "temperature:O",
            "weight:O",
            alt.Tooltip("accuracy:Q", format=".2f"),
            *([] if plain is None else [minus_plain]),
        ],
    )
    texts = base.mark_text().encode(
        text=alt.Text("accuracy:Q", format=".2f"),
        color=alt.condition(
            f"datum.accuracy < {(low + high) / 2}", alt.value("#FFFFFF"), alt.value("#010101")
        ),
    )
    frame = (
        base.transform_filter("datum.default").mark_rect(
            fill=None, stroke=VERMILION, strokeWidth=2
        )
    )  # fmt: skip
    return Figure([Panel("", alt.layer(cells, texts, frame), rows)], width=ONE_COLUMN)
