"""Tables of results and their text formats."""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from dataclasses import dataclass, fields
from typing import Any, Literal

from tabulate import tabulate

from lskd_cli.io.printable import escape_markdown
from lskd_cli.results.runs import EpochName
from lskd_cli.results.seed_stats import SeedStats, Sign

# difference: standardized minus plain; published: published values.
ColumnRole = Literal["text", "number", "difference", "published"]

_BOLD = ("\x02", "\x03")  # around bold text, until special characters are escaped
_BOLD_FORMATS = {"pipe": ("**", "**"), "latex_booktabs": (r"\textbf{", "}")}
_DECIMALS = 6  # of machine-readable numbers


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: heading of the column.
        role: what its cells contain.
        text: text of the cell of a row.
        stats: for differences, the statistics of that of a row; None if there is none.
    """

    heading: str
    role: ColumnRole
    text: Callable[[Any], str]
    stats: Callable[[Any], SeedStats | None] | None = None

    def sign(self, row: Any) -> Sign | None:
        """Sign of the difference of a row; None if there is none."""
        stats = self.stats(row) if self.stats else None
        return stats.sign if stats else None

    @property
    def is_text(self) -> bool:
        """Whether the column is left-aligned and sorted as text."""
        return self.role == "text"


@dataclass
class Table:
    """Rows of results with the columns that are shown.

    Attributes:
        title: what the numbers are.
        caption: explanation of the columns.
        notes: what is particular to some rows; empty if there is nothing.
        columns: the visible columns.
        rows: arguments of ``Column.text``.
        records: the rows as flat mappings, for machine-readable output.
        has_bold: whether text formats print differences in bold whose interval is not around 0.
    """

    title: str
    caption: str
    notes: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    records: Sequence[dict[str, Any]]
    has_bold: bool = False

    @property
    def full_caption(self) -> str:
        """Title, explanation and notes in one paragraph."""
        return " ".join(filter(None, (f"{self.title}.", self.caption, self.notes)))

    def cells(self) -> list[list[str]]:
        """The texts of all cells, row by row."""
        return [[column.text(row) for column in self.columns] for row in self.rows]


def difference_column(heading: str, field: str) -> Column:
    """A column of differences with their intervals, from a field of the rows."""

    def stats(row: Any) -> SeedStats | None:
        value: SeedStats | None = getattr(row, field)
        return value

    return Column(heading, "difference", lambda row: format_gain(stats(row)), stats)


def format_value(value: float | None, format_spec: str = ".2f") -> str:
    """A number, or an empty text for None."""
    return "" if value is None else format(value, format_spec)


def format_limit(limit_train: int | None) -> str:
    """Number of training images, or "all" if it is not limited."""
    return "all" if limit_train is None else f"{limit_train:,}"


def format_published(value: float | None, matches: bool, format_spec: str = ".2f") -> str:
    """A published value, with an asterisk if the runs have other settings."""
    text = format_value(value, format_spec)
    return text if matches or not text else f"{text}*"


def published_column(heading: str, field: str, format_spec: str = ".2f") -> Column:
    """A column of published values, from a field of the rows."""
    return Column(
        heading,
        "published",
        lambda row: format_published(getattr(row, field), row.published_settings, format_spec),
    )


def format_stats(stats: SeedStats | None) -> str:
    """Mean and standard deviation, or an empty text for None."""
    return stats.text() if stats else ""


def format_gain(stats: SeedStats | None) -> str:
    """Mean difference with its interval, or an empty text for None."""
    return stats.difference_text() if stats else ""


def flatten_row(row: Any, stats_fields: Sequence[str]) -> dict[str, Any]:
    """A row as a flat mapping; statistics become NAME_n, NAME_mean, NAME_std, NAME_ci_low, ..."""
    flat: dict[str, Any] = {}
    for name, value in vars(row).items():
        if name not in stats_fields:
            flat[name] = value
        elif value is None:
            flat |= {f"{name}_{item.name}": None for item in fields(SeedStats)} | {f"{name}_n": 0}
        else:
            flat |= {f"{name}_{item}": number for item, number in vars(value).items()}
    return {name: _round(value) for name, value in flat.items()}


def _round(value: Any) -> Any:
    """The value without digits that rounding errors of binary fractions add."""
    return round(value, _DECIMALS) if isinstance(value, float) else value


def visible_columns(
    columns: Sequence[Column], rows: Sequence[Any], hidden: Set[str]
) -> list[Column]:
    """The columns that are not hidden and not empty."""
    return [
        column
        for column in columns
        if column.heading not in hidden and any(column.text(row) for row in rows)
    ]


def format_duration(seconds: float) -> str:
    """A duration as h:mm:ss."""
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remainder:02}"


def format_n(*stats: SeedStats | None) -> str:
    """Number of runs behind the statistics of a row; several numbers if they differ."""
    return "/".join(map(str, sorted({item.n for item in stats if item}, reverse=True)))


def format_epochs(row: Any) -> str:
    """Number of epochs of a row, and whether the best one was selected on held-out images."""
    return f"{row.epochs} (val)" if row.selection == "val" else str(row.epochs)


def interval_note(gains: Iterable[SeedStats | None]) -> str:
    """Part of a caption that explains the intervals of differences, if there are any."""
    has_interval = any(gain and gain.n > 1 for gain in gains)
    return ", with its 95 % t interval" if has_interval else ""


def published_note(rows: Iterable[Any]) -> str:
    """Sentence of a caption that explains the asterisks of published values, if there are any."""
    differs = any(row.has_published and not row.published_settings for row in rows)
    return " * Published for other settings, e.g. another number of epochs." if differs else ""


def epoch_note(epoch: EpochName, selections: Collection[str]) -> str:
    """Part of a title that explains which epoch an accuracy belongs to.

    Args:
        epoch: best or last epoch.
        selections: images that the best epochs of rows are selected on, "test" or "val".
    """
    if epoch == "last":
        return "the last epoch"
    if "val" not in selections:
        return "the best epoch (the papers' convention)"
    if "test" not in selections:
        return "the best epoch on held-out training images"
    return "the best epoch (on test images; val: on held-out training images)"


def as_markdown(tables: Sequence[Table]) -> str:
    """Markdown tables with their captions."""
    return "\n".join(f"{table.full_caption}\n\n{_tabulate(table, 'pipe')}\n" for table in tables)


def as_latex(tables: Sequence[Table]) -> str:
    """LaTeX tabulars for the booktabs package, with captions as comments."""
    texts = [
        f"% {table.full_caption}\n"
        + re.sub(r"(?<![\w.])-(?=\d)", "$-$", _tabulate(table, "latex_booktabs"))
        for table in tables
    ]
    return "\n\n".join(texts).replace("Δ", r"$\Delta$").replace("±", r"$\pm$") + "\n"


def _tabulate(table: Table, format_name: str) -> str:
    cells = table.cells()
    if format_name == "pipe":
        cells = [[escape_markdown(text) for text in row] for row in cells]
    if table.has_bold:
        for row, texts in zip(table.rows, cells, strict=True):
            for index, column in enumerate(table.columns):
                if column.sign(row) in ("higher", "lower"):
                    texts[index] = f"{_BOLD[0]}{texts[index]}{_BOLD[1]}"
    text: str = tabulate(
        cells,
        [column.heading for column in table.columns],
        tablefmt=format_name,
        colalign=["left" if column.is_text else "right" for column in table.columns],
        disable_numparse=True,
    )
    for mark, bold in zip(_BOLD, _BOLD_FORMATS[format_name], strict=True):
        text = text.replace(mark, bold)
    return text


def as_csv(tables: Sequence[Table]) -> str:
    """Comma-separated values of the records of all tables."""
    records = [record for table in tables for record in table.records]
    names = dict.fromkeys(name for record in records for name in record)
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return text.getvalue()


def table_lines(table: Table, format_name: str) -> tuple[list[str], list[str], list[str]]:
    """The lines of a table in a text format: those before its rows, its rows, and those after."""
    if format_name == "csv":
        lines = as_csv([table]).splitlines()  # none without rows
        return lines[:1], lines[1:], []
    lines = TEXT_FORMATS[format_name]([table]).splitlines()
    # Caption, blank line, headings and rule; comment, begin, rule, headings and rule.
    num_before = {"md": 4, "latex": 5}[format_name]
    end = num_before + len(table.rows)
    return lines[:num_before], lines[num_before:end], lines[end:]


TEXT_FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
