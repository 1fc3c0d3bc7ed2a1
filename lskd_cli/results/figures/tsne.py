"""t-SNE of pooled features."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from lskd_cli.network_outputs import Array, NetworkOutputs
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
    styled,
)

_COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW, GRAY)
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
    positions = np.searchsorted(np.sort(classes), targets[selected])
    if len(classes) <= len(_COLORS):
        colors = [_COLORS[position] for position in positions]
    else:
        colors = list(matplotlib.colormaps["turbo"](positions / (len(classes) - 1)))
    with_features = [network for network in networks if network.pooled is not None]
    columns = min(len(with_features), 3)
    num_rows = -(-len(with_features) // columns)
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.4 * num_rows))
        panels = figure.subplots(num_rows, columns, squeeze=False).flatten()
        for axes in panels:
            axes.set_axis_off()
        for axes, network in zip(panels, with_features, strict=False):
            assert network.pooled is not None
            points_2d = _embed(network.pooled[selected])
            axes.scatter(*points_2d.T, s=2, c=colors, linewidths=0, rasterized=True)
            axes.set_title(f"{network.name} ({network.top1:.2f} %)")
    return figure, len(selected)


def _embed(features: Array) -> Array:
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    method = TSNE(init="pca", perplexity=perplexity, random_state=0)
    return np.asarray(method.fit_transform(features))
