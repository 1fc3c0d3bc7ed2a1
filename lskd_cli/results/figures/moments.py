"""Mean and standard deviation of the logits of each image."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from lskd_cli.network_outputs import Array, NetworkOutputs
from lskd_cli.results.figures.chart import ROWS, Figure, Panel, Row
from lskd_cli.results.figures.style import TWO_COLUMNS

_BINS = 60
Limits = tuple[tuple[float, float], tuple[float, float]]


def logit_moments(networks: Sequence[NetworkOutputs]) -> Figure:
    """Bivariate histograms with a column for each network and shared scales.

    Standardization would map every image of every network to the same point.
    """
    moments = [_moments(network.logits) for network in networks]
    limits = _limits(np.concatenate(moments))
    bins = [_histogram(values, limits) for values in moments]
    chart = _histogram_chart(limits, max(row["images"] for rows in bins for row in rows))
    panels = [
        Panel(network.name, chart, rows) for network, rows in zip(networks, bins, strict=True)
    ]
    return Figure(panels, columns=len(networks), width=TWO_COLUMNS, aspect=1.0)


def _moments(logits: Array) -> Array:
    """(N, 2): mean and standard deviation over the classes."""
    return np.stack([logits.mean(axis=1), logits.std(axis=1, ddof=1)], axis=1)


def _limits(values: Array) -> Limits:
    """Minimum and maximum of both columns, with a margin."""
    low, high = values.min(axis=0), values.max(axis=0)
    margin = np.maximum(0.05 * (high - low), 0.5 * (high - low < 1e-3))
    first, second = zip((low - margin).tolist(), (high + margin).tolist(), strict=True)
    return first, second


def _histogram(values: Array, limits: Limits) -> list[Row]:
    """A row for each bin that contains images."""
    x, y = values.T
    counts, means, stds = np.histogram2d(x, y, bins=_BINS, range=np.array(limits))
    return [
        {
            "mean": round(float(means[i]), 5),
            "mean_end": round(float(means[i + 1]), 5),
            "std": round(float(stds[j]), 5),
            "std_end": round(float(stds[j + 1]), 5),
            "images": int(counts[i, j]),
        }
        for i, j in np.argwhere(counts)
    ]


def _histogram_chart(limits: Limits, top: int) -> alt.Chart:
    x, y = (alt.Scale(domain=list(limit), nice=False, zero=False) for limit in limits)
    chart: alt.Chart = (
        alt.Chart(ROWS)
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("mean:Q", title="mean of the logits", scale=x, axis=alt.Axis(tickCount=4)),
            x2="mean_end:Q",
            y=alt.Y("std:Q", title="standard deviation", scale=y, axis=alt.Axis(tickCount=4)),
            y2="std_end:Q",
            color=alt.Color(
                "images:Q", scale=alt.Scale(type="log", scheme="viridis", domain=[1, max(top, 2)])
            ),
            tooltip=["images:Q", alt.Tooltip("mean:Q", format=".2f"), alt.Tooltip("std:Q")],
        )
    )
    return chart
