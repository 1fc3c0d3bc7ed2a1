"""Figures as SVG text, ready to stand in a page."""

import io
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from lskd_cli.results.guided import is_guided
from lskd_cli.results.runs import Run

PUBLISHED = "#d97706"
# Label and colour of each arm: method alone and standardized; of transformers, their four arms.
_ARMS = {False: ("the method alone", "#6b7280"), True: ("+Ours", "#0f766e")}
_GUIDED_ARMS = {
    ("none", False): ("alone", "#6b7280"),
    ("guidance", False): ("locality guidance", "#7c3aed"),
    ("kd", False): ("KD", "#2563eb"),
    ("kd", True): ("KD+Ours", "#0f766e"),
}
_WITHOUT_DATE = {"Date": None}  # the same runs give the same page


@cache
def published_curves() -> dict[str, list[float]]:
    """Top-1 test accuracy (%) by epoch of the released logs, by their names."""
    text = files("lskd_cli.results").joinpath("published_curves.json").read_text("utf-8")
    curves: dict[str, list[float]] = json.loads(text)
    return curves


def accuracy_curves(runs: Sequence[Run]) -> str:
    """Test accuracy by epoch of the runs of one figure, over the published curve.

    Args:
        runs: of one preset, or one transformer; any seeds, with and without standardization, with
            history.

    Returns:
        An <svg> element.
    """
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    log = next((run.preset.published.log for run in runs if run.preset.published.log), None)
    longest = max(run.preset.schedule.epochs for run in runs)
    if log in published_curves():
        whole = published_curves()[log]
        ours = _arm(runs[0], standardized=True)[0]
        label = f"{ours}, published ({len(whole)} epochs in all)"
        curve = whole[:longest]
        axes.plot(range(1, len(curve) + 1), curve, color=PUBLISHED, linewidth=1, label=label)
    named = set()
    for run in sorted(runs, key=lambda run: run.preset.standardized):
        label, colour = _arm(run, run.preset.standardized)
        axes.plot(
            [record["epoch"] for record in run.history],
            [record["test_top1"] for record in run.history],
            color=colour,
            linewidth=1.5,
            marker="o" if len(run.history) < 40 else None,
            markersize=3,
            label=None if label in named else label,
        )
        named.add(label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("top-1 test accuracy (%)")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    text = io.StringIO()
    plt.rcParams["svg.hashsalt"] = "lskd"
    figure.savefig(text, format="svg", metadata=_WITHOUT_DATE)
    plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _arm(run: Run, standardized: bool) -> tuple[str, str]:
    if not is_guided(run):
        return _ARMS[standardized]
    return _GUIDED_ARMS["kd" if standardized else run.preset.method.name, standardized]
