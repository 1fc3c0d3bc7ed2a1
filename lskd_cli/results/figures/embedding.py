"""t-SNE of pooled features."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from lskd_cli.outputs import Array, Outputs
from lskd_cli.results.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    TWO_COLUMNS,
    VERMILION,
    YELLOW,
    styled,
)

_FEW = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW, GREY)
_PERPLEXITY = 30.0  # as in van der Maaten and Hinton, JMLR 9 (2008), at most a third of the images


def embedded(
    networks: Sequence[Outputs], targets: Array, classes: Sequence[int], points: int
) -> tuple[Figure, int]:
    """The images of some classes as points, those with like features side by side.

    A panel for each network that tells its features. Seed and start are fixed, so the same
    features give the same figure.

    Args:
        networks: teacher and students.
        targets: (N,) classes of the images.
        classes: all others are left out.
        points: at most, evenly among the images of these classes.

    Returns:
        The figure and the number of images in it.
    """
    chosen = np.flatnonzero(np.isin(targets, classes))
    if len(chosen) > points:
        chosen = chosen[np.linspace(0, len(chosen) - 1, points).astype(int)]
    places = np.searchsorted(np.sort(classes), targets[chosen])
    if len(classes) <= len(_FEW):
        colours = [_FEW[place] for place in places]
    else:
        colours = list(matplotlib.colormaps["turbo"](places / (len(classes) - 1)))
    told = [network for network in networks if network.pooled is not None]
    columns = min(len(told), 3)
    lines = -(-len(told) // columns)
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.4 * lines))
        panels = figure.subplots(lines, columns, squeeze=False).flatten()
        for axes in panels:
            axes.set_axis_off()
        for axes, network in zip(panels, told, strict=False):
            assert network.pooled is not None
            placed = _points(network.pooled[chosen])
            axes.scatter(*placed.T, s=2, c=colours, linewidths=0, rasterized=True)
            axes.set_title(f"{network.name} ({network.top1:.2f} %)")
    return figure, len(chosen)


def _points(features: Array) -> Array:
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    method = TSNE(init="pca", perplexity=perplexity, random_state=0)
    return np.asarray(method.fit_transform(features))
