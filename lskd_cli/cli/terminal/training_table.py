"""The table of a training on a terminal, shortened to fit the screen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lskd_cli.results.tables.table_format import format_value

_UNLIMITED = 100_000  # columns, to measure a table


@dataclass(frozen=True)
class Row:
    """A student in its current epoch, or the mean over the seeds of one run.

    Attributes:
        run: name of the run.
        label: what the table calls it.
        values: losses and ``train_top1`` of the current epoch; ``test_top1`` and ``lr`` of the last
            one; ``best`` and ``best_epoch``. Those that do not exist yet are missing.
    """

    run: str
    label: str
    values: Mapping[str, float]


def training_table(
    rows: Sequence[Row], terms: Mapping[str, str], console: Console, height: int
) -> Table:
    """A table of at most ``height`` lines that is not wider than the console.

    If it is too wide, it has no epochs of the best accuracies, then no loss terms, no learning
    rates, and no training accuracies. If it is too high, it has the mean over the seeds of each
    run, and the last line says how many runs are left out.

    Args:
        rows: the students.
        terms: heading of each loss term.
        console: where it is printed.
        height: lines on the screen.
    """
    if len(rows) + 1 > height:
        rows = list(_means(rows))
    num_shown = len(rows) if len(rows) + 1 <= height else max(height - 2, 1)
    hidden = len(rows) - num_shown
    unlimited = console.options.update(max_width=_UNLIMITED)
    for columns, with_epoch in _choices(terms):
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("run", no_wrap=True, overflow="ellipsis")
        for heading in columns.values():
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows[:num_shown]:
            cells = [_cell(row.values, key, with_epoch) for key in columns]
            table.add_row(Text(row.label, style="green" if "+stand" in row.run else ""), *cells)
        if hidden:
            table.add_row(Text(f"... and {hidden} more", style="dim"))
        if console.measure(table, options=unlimited).maximum <= console.width:
            break
    return table


def _choices(terms: Mapping[str, str]) -> Iterator[tuple[dict[str, str], bool]]:
    """Headings of the columns, and whether the best epoch is shown, from wide to narrow."""
    loss, lr = {"train_loss": "loss"}, {"lr": "lr"}
    train, test = {"train_top1": "train top-1"}, {"test_top1": "test top-1", "best": "best"}
    yield {**loss, **terms, **train, **test, **lr}, True
    yield {**loss, **terms, **train, **test, **lr}, False
    yield {**loss, **train, **test, **lr}, False
    yield {**loss, **train, **test}, False
    yield {**loss, **test}, False


def _cell(values: Mapping[str, float], key: str, with_epoch: bool) -> str:
    if key == "best" and with_epoch and "best_epoch" in values:
        return f"{format_value(values['best'])} (epoch {values['best_epoch']:g})"
    if key == "lr":
        return format_value(values.get(key), "g")
    is_loss = key.startswith("train_") and key != "train_top1"
    return format_value(values.get(key), ".4f" if is_loss else ".2f")


def _means(rows: Sequence[Row]) -> Iterator[Row]:
    """One row for each run, with the mean over its seeds."""
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(row)
    for run, seeds in by_run.items():
        keys = set.intersection(*(set(row.values) for row in seeds)) - {"best_epoch"}
        values = {key: fmean(row.values[key] for row in seeds) for key in keys}
        label = run if len(seeds) == 1 else f"{run} (mean of {len(seeds)} seeds)"
        yield Row(run, label, values)
