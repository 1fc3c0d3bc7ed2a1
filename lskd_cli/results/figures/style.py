"""Sizes, colors and file formats of all figures."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib import style
from matplotlib.figure import Figure

from lskd_cli.network_outputs import Role

# Widths in inches, for a two-column paper.
ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9

# Colors that are distinct with any color vision (Okabe and Ito, jfly.uni-koeln.de/color, 2008).
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GRAY = "#7F7F7F"
BASELINE, PLAIN, STANDARDIZED, LOCALITY = GRAY, BLUE, VERMILION, PURPLE
COLORS: dict[Role, str] = {
    "teacher": BLACK,
    "baseline": BASELINE,
    "plain": PLAIN,
    "standardized": STANDARDIZED,
}

FORMATS = ("pdf", "svg", "png")


@contextmanager
def styled() -> Iterator[None]:
    """Context in which figures are created and written; it needs no display."""
    with style.context("lskd_cli.results.figures.lskd"):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix; equal figures give equal bytes.

    Raises:
        OSError: the file cannot be written.
    """
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    with styled():
        figure.savefig(path, metadata=undated[path.suffix[1:]])


def as_svg(figure: Figure, name: str, alternative_text: str) -> str:
    """An <svg> element in which black is the text color of the page.

    Args:
        figure: created within ``styled``.
        name: unique name of the figure on the page, the prefix of all identifiers.
        alternative_text: description of the figure, as HTML.
    """
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with styled(), matplotlib.rc_context({"savefig.transparent": True}):
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(BLACK, "currentColor")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{alternative_text}" ', 1)
