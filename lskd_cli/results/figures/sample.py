"""The logits of one image, as they are and standardized."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lskd_cli.outputs import Outputs
from lskd_cli.results.figures.style import COLOURS, GREEN, TWO_COLUMNS, styled


def sample_logits(networks: Sequence[Outputs], sample: int, target: int) -> Figure:
    """Bars of the logits of each network, above as they are, below standardized.

    Args:
        networks: the teacher and its students.
        sample: which of their images.
        target: its class, marked below the bars.
    """
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 3.2))
        panels = figure.subplots(2, len(networks), sharex=True, sharey="row", squeeze=False)
        for network, (above, below) in zip(networks, panels.T, strict=True):
            logits = network.logits[sample]
            classes = np.arange(len(logits))
            for axes, heights in ((above, logits), (below, network.standardized[sample])):
                axes.bar(classes, heights, width=1.0, color=COLOURS[network.kind])
                axes.plot(
                    target, 0, marker="^", markersize=5, color=GREEN, clip_on=False,
                    transform=axes.get_xaxis_transform(), zorder=3,
                )  # fmt: skip
            above.set_title(f"{network.name}, deviation {network.deviations[sample]:.2f}")
            below.set_title("standardized")
            below.set_xlabel("class")
            below.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panels[0, 0].set_ylabel("logit")
        panels[1, 0].set_ylabel("logit")
    return figure
