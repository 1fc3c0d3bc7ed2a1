"""A table of results, and how it is written."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, fields
from typing import Any

from tabulate import tabulate

from lskd_cli.results.statistic import Statistic


@dataclass(frozen=True)
class Column:
    """One column of the table: its heading, what it shows of a row, and what kind of thing that is.

    Kinds: text, number, ours (measured with standardization), published.
    """

    heading: str
    kind: str
    text: Callable[[Any], str]


@dataclass
class Table:
    """Rows with the columns that say something of them.

    Attributes:
        records: the rows as flat mappings: machine output.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    records: Sequence[dict[str, Any]]

    def texts(self) -> list[list[str]]:
        """The cells, row by row."""
        return [[column.text(row) for column in self.columns] for row in self.rows]


def value(number: float | None, form: str = ".2f") -> str:
    """A number as in a table, or nothing."""
    return "" if number is None else format(number, form)


def statistic(found: Statistic | None) -> str:
    """A statistic as in a table, or nothing."""
    return found.text() if found else ""


def gain(found: Statistic | None) -> str:
    """Differences as in a table, or nothing."""
    return found.gain() if found else ""


def _flat(name: str, found: Statistic | None) -> dict[str, Any]:
    """A statistic as NAME_n, NAME_mean, NAME_deviation, NAME_low, NAME_high."""
    if found is None:
        return {f"{name}_{part.name}": None for part in fields(Statistic)} | {f"{name}_n": 0}
    return {f"{name}_{part}": number for part, number in vars(found).items()}


def record(row: Any, statistics: Sequence[str]) -> dict[str, Any]:
    """A row as a flat mapping: machine output; ``statistics`` are the names of such fields."""
    flat_row: dict[str, Any] = {}
    for key, entry in vars(row).items():
        flat_row |= _flat(key, entry) if key in statistics else {key: entry}
    return flat_row


def telling(columns: Sequence[Column], rows: Sequence[Any], needless: Set[str]) -> list[Column]:
    """The columns that say something of some rows."""
    return [
        column
        for column in columns
        if column.heading not in needless and any(column.text(row) for row in rows)
    ]


def clock(seconds: float) -> str:
    """A duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def counts(*found: Statistic | None) -> str:
    """How many runs stand behind a row's numbers; more than one number where they differ."""
    return "/".join(map(str, sorted({one.n for one in found if one}, reverse=True)))


def epochs(row: Any) -> str:
    """The epochs of a row, and whether its best one was chosen on held-out images."""
    return f"{row.epochs} (val)" if row.selection == "val" else str(row.epochs)


def with_interval(gains: Iterable[Statistic | None]) -> str:
    """What a caption says of the intervals of differences, if there are any."""
    return ", with its 95 % t interval" if any(one and one.n > 1 for one in gains) else ""


def which_epoch(accuracy: str) -> str:
    """What "best" or "last" means, for a caption."""
    return "the best epoch, as published" if accuracy == "best" else "the last epoch"


def as_markdown(tables: Sequence[Table]) -> str:
    """Markdown tables with their captions."""
    return "\n".join(f"{table.caption}\n\n{_tabulate(table, 'pipe')}\n" for table in tables)


def as_latex(tables: Sequence[Table]) -> str:
    """LaTeX tabulars for the booktabs package, their captions as comments."""
    texts = []
    for table in tables:
        texts.append(f"% {table.caption}\n{_tabulate(table, 'latex_booktabs')}\n")
    return "\n".join(texts).replace("Δ", r"$\Delta$").replace("±", r"$\pm$")


def _tabulate(table: Table, form: str) -> str:
    return tabulate(
        table.texts(),
        [column.heading for column in table.columns],
        tablefmt=form,
        colalign=["left" if column.kind == "text" else "right" for column in table.columns],
        disable_numparse=True,
    )


def as_csv(tables: Sequence[Table]) -> str:
    """Comma-separated values, one column for each number of any table."""
    records = [record for table in tables for record in table.records]
    names = dict.fromkeys(name for record in records for name in record)
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return text.getvalue()


TEXT_FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
