"""t-SNE of pooled features."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from lskd_cli.network_outputs import Array, NetworkOutputs
from lskd_cli.results.figures.chart import ROWS, Figure, Panel
from lskd_cli.results.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    TWO_COLUMNS,
    VERMILION,
    YELLOW,
)

_COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW, GRAY)
_MAX_LEGEND = 20  # classes; the tooltip names those of more
# As in van der Maaten and Hinton, JMLR 9 (2008); reduced to a third of the number of images.
_PERPLEXITY = 30.0


def tsne_figure(
    networks: Sequence[NetworkOutputs], targets: Array, classes: Sequence[int], points: int
) -> tuple[Figure, int]:
    """Images of some classes as points, with a panel for each network that returns features.

    Seed and initialization are fixed, so the same features give the same figure.

    Args:
        networks: outputs of the teacher and the students.
        targets: (N,) classes of the images.
        classes: the classes to draw.
        points: largest number of images, which are evenly spaced.

    Returns:
        The figure and the number of images in it.
    """
    selected = np.flatnonzero(np.isin(targets, classes))
    if len(selected) > points:
        selected = selected[np.linspace(0, len(selected) - 1, points).astype(int)]
    with_features = [network for network in networks if network.pooled is not None]
    chart = _scatter_plot(sorted({int(target) for target in targets[selected]}))
    panels = []
    for network in with_features:
        assert network.pooled is not None
        points_2d = _embed(network.pooled[selected])
        rows = [
            {"x": round(float(x), 3), "y": round(float(y), 3), "class": int(targets[index])}
            for (x, y), index in zip(points_2d, selected, strict=True)
        ]
        panels.append(Panel(f"{network.name} ({network.top1:.2f} %)", chart, rows))
    columns = min(len(panels), 3)
    return Figure(panels, columns=columns, width=TWO_COLUMNS, aspect=1.0), len(selected)


def _scatter_plot(classes: Sequence[int]) -> alt.Chart:
    is_few = len(classes) <= len(_COLORS)
    scale = (
        alt.Scale(domain=list(classes), range=list(_COLORS[: len(classes)]))
        if is_few
        else alt.Scale(domain=list(classes), scheme="turbo")
    )
    legend = alt.Legend(
        symbolType="circle", symbolSize=30, symbolOpacity=1, columns=10, symbolLimit=_MAX_LEGEND
    )
    hidden = alt.Axis(labels=False, ticks=False, domain=False, grid=False, title=None)
    chart: alt.Chart = (
        alt.Chart(ROWS)
        .mark_circle(size=6, opacity=0.9)
        .encode(
            x=alt.X("x:Q", axis=hidden, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", axis=hidden, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "class:N",
                scale=scale,
                legend=legend if len(classes) <= _MAX_LEGEND else None,
            ),
            tooltip=["class:Q"],
        )
    )
    return chart


def _embed(features: Array) -> Array:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    method = TSNE(init="pca", perplexity=perplexity, random_state=0)
    return np.asarray(method.fit_transform(features))
