"""Sizes, colors and fonts of all figures."""

from typing import Any

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
# Signs of a difference: above zero, below zero, and an interval that contains zero.
SIGN_COLORS = {"higher": GREEN, "lower": "#C2185B", "unclear": GRAY}

# Sizes in points at 72 points per inch: readable in print at the width of one column.
_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
PAPER: dict[str, Any] = {
    "background": "white",
    "padding": 2,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 7,
        "titleFontSize": 8,
        "titleFontWeight": "normal",
        "gridColor": "#E5E5E5",
        "gridWidth": 0.5,
        "domainWidth": 0.6,
        "tickWidth": 0.6,
        "tickSize": 3,
        "titlePadding": 3,
    },
    "legend": {
        "labelFontSize": 7,
        "titleFontSize": 7,
        "orient": "bottom",
        "symbolType": "stroke",
        "symbolOpacity": 1,
        "symbolSize": 150,
        "symbolStrokeWidth": 1.5,
    },
    "title": {"fontSize": 8, "fontWeight": "normal", "offset": 4},
    "line": {"strokeWidth": 1.2},
    "point": {"size": 20},
    "text": {"fontSize": 7},
    "concat": {"spacing": 10},
}
