"""The logits of one image, plain and standardized."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lskd_cli.network_outputs import NetworkOutputs
from lskd_cli.results.figures.style import COLORS, GREEN, TWO_COLUMNS, styled


def sample_logits(networks: Sequence[NetworkOutputs], sample: int, target: int) -> Figure:
    """Bars of the logits of each network: plain (first row) and standardized (second row).

    Args:
        networks: outputs of the teacher and the students.
        sample: index of the image in these outputs.
        target: class of the image, which is marked below the bars.
    """
    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 3.2))
        panels = figure.subplots(2, len(networks), sharex=True, sharey="row", squeeze=False)
        for network, (plain, standardized) in zip(networks, panels.T, strict=True):
            logits = network.logits[sample]
            classes = np.arange(len(logits))
            for axes, heights in ((plain, logits), (standardized, network.standardized[sample])):
                axes.bar(classes, heights, width=1.0, color=COLORS[network.role])
                axes.plot(
                    target, 0, marker="^", markersize=5, color=GREEN, clip_on=False,
                    transform=axes.get_xaxis_transform(), zorder=3,
                )  # fmt: skip
            plain.set_title(f"{network.name}, std {network.logit_std[sample]:.2f}")
            standardized.set_title("standardized")
            standardized.set_xlabel("class")
            standardized.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panels[0, 0].set_ylabel("logit")
        panels[1, 0].set_ylabel("logit")
    return figure
