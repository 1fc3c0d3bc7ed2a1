"""Tables of results on a terminal."""

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from lskd_cli.results.table_format import Table as ResultTable

_STYLES = {"standardized": "green", "published": "dim"}


def as_rich_table(results: ResultTable, width: int) -> Table:
    """A table that fits a width: first deviations move to a second line, then rows to columns."""
    # A Text is not parsed as markup, which names and devices in files might contain.
    caption = Text(results.caption, style="table.caption")
    headings = [column.heading for column in results.columns]
    cells = results.cells()
    if _table_width(headings, cells) > width:
        cells = [
            [text.replace(" ± ", "\n± ").replace(" [", "\n[") for text in row] for row in cells
        ]
    if _table_width(headings, cells) > width:
        table = Table(caption=caption, box=SIMPLE_HEAD, show_header=False)
        for index, heading in enumerate(headings):
            table.add_row(heading, *(Text(row[index]) for row in cells))
        return table
    table = Table(caption=caption, header_style="bold", box=SIMPLE_HEAD)
    for column in results.columns:
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        table.add_column(column.heading, justify=justify, style=_STYLES.get(column.role))
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _table_width(headings: list[str], cells: list[list[str]]) -> int:
    """Width of a table with these cells, including padding and edges."""
    longest = (
        max(cell_len(line) for text in column for line in text.split("\n"))
        for column in zip(headings, *cells, strict=True)
    )
    return sum(width + 2 for width in longest) + len(headings) + 1
