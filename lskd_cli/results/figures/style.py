"""What all figures share: sizes, colours, and how they become files."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib import style
from matplotlib.figure import Figure

from lskd_cli.outputs import Kind

# Inches: the columns of a two-column paper.
ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9

# Colours that are told apart with any colour vision (Okabe and Ito, jfly.uni-koeln.de/color, 2008).
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#7F7F7F"
ALONE, PLAIN, OURS, LOCALITY = GREY, BLUE, VERMILION, PURPLE
COLOURS: dict[Kind, str] = {"teacher": BLACK, "alone": ALONE, "plain": PLAIN, "ours": OURS}

FORMATS = ("pdf", "svg", "png")


@contextmanager
def styled() -> Iterator[None]:
    """Context in which figures are made and written; needs no display."""
    with style.context("lskd_cli.results.figures.lskd"):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix; the same figure gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    with styled():
        figure.savefig(path, metadata=undated[path.suffix[1:]])


def as_svg(figure: Figure, name: str, alternative: str) -> str:
    """An <svg> element for a page, its black drawn in the colour of the page's text.

    Args:
        figure: made within ``styled``.
        name: the page's only figure of this name; begins all identifiers.
        alternative: what the figure shows, for who cannot see it; HTML.
    """
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with styled(), matplotlib.rc_context({"savefig.transparent": True}):
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(BLACK, "currentColor")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{alternative}" ', 1)
