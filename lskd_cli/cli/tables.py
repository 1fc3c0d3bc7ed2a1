"""Tables of results on a terminal."""

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table

from lskd_cli.results.table import Table as Results


def as_table(results: Results, width: int) -> Table:
    """A table; on a narrower screen deviations below means, then rows as columns."""
    headings = [column.heading for column in results.columns]
    texts = results.texts()
    if _width(headings, texts) > width:
        texts = [
            [text.replace(" ± ", "\n± ").replace(" [", "\n[") for text in row] for row in texts
        ]
    if _width(headings, texts) > width:
        table = Table(caption=results.caption, box=SIMPLE_HEAD, show_header=False)
        for index, heading in enumerate(headings):
            table.add_row(heading, *(line[index] for line in texts))
        return table
    table = Table(caption=results.caption, header_style="bold", box=SIMPLE_HEAD)
    styles = {"ours": "green", "published": "dim"}
    for column in results.columns:
        justify: Literal["left", "right"] = "left" if column.kind == "text" else "right"
        table.add_column(column.heading, justify=justify, style=styles.get(column.kind))
    for line in texts:
        table.add_row(*line)
    return table


def _width(headings: list[str], texts: list[list[str]]) -> int:
    """Columns that a table with these cells takes, two of padding each and the edges."""
    longest = (
        max(cell_len(part) for text in column for part in text.split("\n"))
        for column in zip(headings, *texts, strict=True)
    )
    return sum(width + 2 for width in longest) + len(headings) + 1
