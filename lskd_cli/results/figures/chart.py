"""Figures made of panels, which a page shows and which are written as PDF, SVG and PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from lskd_cli.results.figures.style import PAPER, TWO_COLUMNS

FORMATS = ("pdf", "svg", "png")
ROWS = alt.NamedData(name="rows")  # the data of every panel, whose values are set when it is drawn

Row = dict[str, Any]
Chart = alt.Chart | alt.LayerChart | alt.FacetChart

_POINTS_PER_INCH = 72
_PNG_SCALE = 300 / _POINTS_PER_INCH
_AXIS_WIDTH = 40  # points beside a panel, for the labels and the title of its axis


@dataclass
class Panel:
    """One coordinate system of a figure.

    Attributes:
        title: heading of the panel.
        chart: how ``rows`` are drawn; its data are ``ROWS``.
        rows: the data.
        overlay: what a page draws above the chart, for the pointer.
        row_height: height of each row in pixels, for charts with a line for each row.
    """

    title: str
    chart: Chart
    rows: Sequence[Row]
    overlay: Chart | None = field(default=None, kw_only=True)
    row_height: int | None = field(default=None, kw_only=True)

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification for a page, without data, size and title."""
        chart = self.chart if self.overlay is None else alt.layer(self.chart, self.overlay)
        spec: dict[str, Any] = chart.to_dict()
        spec.pop("config", None)
        return spec


@dataclass
class Figure:
    """Panels in a grid, with a title and a caption.

    Attributes:
        panels: the panels, row by row.
        name: name of its files, without suffix.
        title: heading on a page.
        caption: what the figure shows.
        columns: panels in a row.
        width: width on paper in inches.
        aspect: height of a panel divided by its width; None if the chart has its own height.
        has_row_scales: whether each row of panels has a color scale of its own.
        is_folded: whether a page shows it only on request.
    """

    panels: Sequence[Panel]
    name: str = ""
    title: str = ""
    caption: str = ""
    columns: int = 1
    width: float = TWO_COLUMNS
    aspect: float | None = 0.75
    has_row_scales: bool = False
    is_folded: bool = False


def paper_spec(figure: Figure) -> dict[str, Any]:
    """The Vega-Lite specification of a whole figure at its width on paper."""
    columns = min(figure.columns, len(figure.panels))
    width = figure.width * _POINTS_PER_INCH / columns - _AXIS_WIDTH
    size: dict[str, Any] = {"width": width}
    if figure.aspect is not None:
        size["height"] = figure.aspect * width
    charts, datasets = [], {}
    for index, panel in enumerate(figure.panels):
        name = f"{ROWS.name}{index}"
        datasets[name] = list(panel.rows)
        if panel.row_height is not None:
            size["height"] = panel.row_height * len(panel.rows)
        chart = panel.chart.properties(data=alt.NamedData(name=name), title=panel.title, **size)
        charts.append(chart)
    if figure.has_row_scales:
        rows = [charts[start : start + columns] for start in range(0, len(charts), columns)]
        combined = alt.vconcat(*(alt.hconcat(*row) for row in rows))
        spec: dict[str, Any] = combined.resolve_scale(color="independent").to_dict()
    else:
        spec = alt.concat(*charts, columns=columns).to_dict()
    spec.pop("config", None)
    return spec | {"datasets": datasets}


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix.

    Raises:
        OSError: the file cannot be written.
    """
    spec = paper_spec(figure)
    if path.suffix == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(spec, config=PAPER), encoding="utf-8")
    elif path.suffix == ".pdf":
        path.write_bytes(vl_convert.vegalite_to_pdf(spec, config=PAPER))
    else:
        path.write_bytes(vl_convert.vegalite_to_png(spec, config=PAPER, scale=_PNG_SCALE))


def color_scale(colors: Mapping[str, str], names: Sequence[str]) -> alt.Scale:
    """A color scale of the given names, in their order."""
    return alt.Scale(domain=list(names), range=[colors[name] for name in names])
