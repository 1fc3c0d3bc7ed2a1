"""Mean and standard deviation of the logits of each image, before and after standardization."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lskd_cli.network_outputs import Array, NetworkOutputs
from lskd_cli.results.figures.style import TWO_COLUMNS, styled

_BINS = 60


def logit_moments(networks: Sequence[NetworkOutputs]) -> Figure:
    """Bivariate histograms with a column for each network and shared scales in each row.

    Standardization maps every image of every network to the same point.
    """
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 3.2))
        panels = figure.subplots(2, len(networks), sharex="row", sharey="row", squeeze=False)
        for row, field in enumerate(("logits", "standardized")):
            pairs = [_moments(getattr(network, field)) for network in networks]
            limits = _limits(np.concatenate(pairs))
            for axes, network, values in zip(panels[row], networks, pairs, strict=True):
                axes.hist2d(
                    *values.T, bins=_BINS, range=limits, norm=LogNorm(1, len(values)),
                    cmap="viridis", rasterized=True,
                )  # fmt: skip
                axes.set_title(network.name if field == "logits" else "standardized")
                axes.locator_params(nbins=4)
            panels[row, 0].set_ylabel("standard deviation")
        figure.supxlabel("mean of the logits", fontsize="medium")
    return figure


def _moments(logits: Array) -> Array:
    """(N, 2): mean and standard deviation over the classes."""
    return np.stack([logits.mean(axis=1), logits.std(axis=1, ddof=1)], axis=1)


def _limits(values: Array) -> list[tuple[float, float]]:
    """Minimum and maximum of both columns, with a margin."""
    low, high = values.min(axis=0), values.max(axis=0)
    margin = np.maximum(0.05 * (high - low), 0.5 * (high - low < 1e-3))
    return [(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]
