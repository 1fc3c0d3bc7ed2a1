"""Tables of results on a terminal."""

from collections.abc import Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lskd_cli.io.printable import printable
from lskd_cli.results.seed_stats import Sign
from lskd_cli.results.tables.table_format import Column
from lskd_cli.results.tables.table_format import Table as ResultTable

_ROLE_STYLES = {"published": "dim"}
_SIGN_STYLES: dict[Sign | None, str] = {"higher": "green", "lower": "red"}


def as_rich_table(results: ResultTable, width: int, explain: bool = False) -> Group:
    """A table that fits a width, with its title and notes.

    If there is no room, standard deviations and intervals move to a second line, then rows become
    columns.

    Args:
        results: the table.
        width: width of the terminal in characters.
        explain: whether the meaning of the columns is printed.
    """
    parts: list[Any] = [plain_text(results.title, "bold"), _table(results, width)]
    if results.notes:
        parts.append(plain_text(results.notes, "dim"))
    if explain:
        parts.append(plain_text(results.caption, "dim italic"))
    return Group(*parts)


def plain_text(text: str, style: str = "") -> Text:
    """A text that is not parsed as markup, without control characters: it may come from a file."""
    return Text(printable(text), style=style)


def _table(results: ResultTable, width: int) -> Table:
    headings = [column.heading for column in results.columns]
    cells = results.cells()
    used = _table_width(headings, cells)
    if used > width:
        cells = [
            [text.replace(" ± ", "\n± ").replace(" [", "\n[") for text in row] for row in cells
        ]
    if _table_width(headings, cells) > width:
        table = Table(box=SIMPLE_HEAD, show_header=False)
        for index, heading in enumerate(headings):
            column = results.columns[index]
            values = (
                plain_text(cell_row[index], _style(column, row))
                for cell_row, row in zip(cells, results.rows, strict=True)
            )
            table.add_row(heading, *values)
        return table
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for column in results.columns:
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        table.add_column(column.heading, justify=justify)
    for index, row in enumerate(cells):
        texts = [
            plain_text(text, _style(column, results.rows[index]))
            for text, column in zip(row, results.columns, strict=True)
        ]
        table.add_row(*texts)
    return table


def _style(column: Column, row: Any) -> str:
    return _SIGN_STYLES.get(column.sign(row), "") or _ROLE_STYLES.get(column.role, "")


def _table_width(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Width of a table with these cells, including padding and edges."""
    longest = (
        max(cell_len(line) for text in column for line in text.split("\n"))
        for column in zip(headings, *cells, strict=True)
    )
    return sum(width + 2 for width in longest) + len(headings) + 1
