"""Details tables: all methods of a teacher-student pair with both epochs, time and hardware."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from statistics import mean

from lskd_cli.results.grouping import MethodRuns, RunGroup
from lskd_cli.results.seed_stats import SeedStats, paired_difference, top1_by_seed
from lskd_cli.results.tables.result_row import ResultRow, hardware_note, training_fields
from lskd_cli.results.tables.table_format import (
    Column,
    Table,
    difference_column,
    flatten_row,
    format_duration,
    format_n,
    format_stats,
    interval_note,
    published_column,
    published_note,
    visible_columns,
)

_STATS_FIELDS = ("best", "best_gain", "last", "last_gain")


@dataclass(kw_only=True)
class DetailsRow(ResultRow):
    """A method, with or without standardization: the runs of all its seeds.

    Attributes:
        method: label of the method.
        run_name: name of the folder of its runs.
        n: number of runs.
        best: accuracies in percent of the best epochs.
        best_gain: standardized minus plain, paired by seed.
        last: accuracies in percent of the last epochs.
        last_gain: standardized minus plain, paired by seed.
        published: published accuracy in percent.
        seconds: training time, mean over the runs, of all students of a joint run together.
        hardware: devices and precisions.
        students: number of students of the joint runs.
    """

    method: str
    run_name: str
    n: int
    best: SeedStats | None
    best_gain: SeedStats | None
    last: SeedStats | None
    last_gain: SeedStats | None
    published: float | None
    seconds: float
    hardware: str
    students: str


def make_details(groups: Sequence[RunGroup]) -> list[Table]:
    """A table for each group of runs that has finished ones.

    Raises:
        RequestError: two runs have the same settings and seed.
    """
    return [_table(finished) for group in groups if (finished := group.finished())]


def _table(group: RunGroup) -> Table:
    rows = [_row(method) for method in group.methods]
    hidden = _hidden_columns(rows)
    columns = visible_columns(_COLUMNS, rows, hidden)
    records = [flatten_row(row, _STATS_FIELDS) for row in rows]
    pairs = [(method.plain, method.runs) for method in group.methods if method.plain]
    notes = published_note(rows) + hardware_note(pairs)
    title = _title(rows[-1], group.length)
    return Table(title, _caption(rows, hidden), notes.strip(), columns, rows, records)


def _row(method: MethodRuns) -> DetailsRow:
    best, last = top1_by_seed(method.runs, "best"), top1_by_seed(method.runs, "last")
    published = method.preset.published
    standardized = method.preset.standardized
    return DetailsRow(
        **training_fields(method.runs),
        method=method.label,
        run_name=method.preset.run_name,
        n=len(method.runs),
        best=SeedStats.of(list(best.values())),
        best_gain=paired_difference(top1_by_seed(method.plain, "best"), best),
        last=SeedStats.of(list(last.values())),
        last_gain=paired_difference(top1_by_seed(method.plain, "last"), last),
        published=published.top1_stand if standardized else published.top1,
        seconds=mean(run.info.seconds for run in method.runs),
        hardware=_join(f"{run.info.device}, {run.info.precision}" for run in method.runs),
        students=_join(str(len(run.info.joint_runs) or 1) for run in method.runs),
    )


def _join(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


_COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Method", "text", lambda row: row.method),
    Column("Epochs", "number", lambda row: str(row.epochs)),
    Column("n", "number", lambda row: format_n(row.best, row.best_gain)),
    Column("Best epoch", "number", lambda row: format_stats(row.best)),
    difference_column("Δ", "best_gain"),
    Column("Last epoch", "number", lambda row: format_stats(row.last)),
    difference_column("Δ", "last_gain"),
    published_column("Published", "published"),
    Column("Time", "number", lambda row: format_duration(row.seconds)),
    Column("Hardware", "text", lambda row: row.hardware),
    Column("Students", "number", lambda row: row.students),
)


def _hidden_columns(rows: Sequence[DetailsRow]) -> set[str]:
    """Columns with one value, which the caption contains, or that do not distinguish rows."""
    hidden = set()
    if len({row.method for row in rows}) == len(rows):
        hidden.add("Preset")
    if len({row.epochs for row in rows}) == 1:
        hidden.add("Epochs")
    if len({row.hardware for row in rows}) == 1:
        hidden.add("Hardware")
    if len({row.students for row in rows}) == 1:
        hidden.add("Students")
    return hidden


def _title(row: DetailsRow, length: str) -> str:
    teacher = ""
    if row.teacher:
        top1 = f" ({row.teacher_top1:.2f} %)" if row.teacher_top1 else ""
        teacher = f" from {row.teacher}{top1}"
    return f"{row.student}{teacher} on {row.data_label}, {length}: top-1 test accuracy (%)"


def _caption(rows: Sequence[DetailsRow], hidden: Set[str]) -> str:
    row = rows[-1]
    caption = (
        f"Best epoch: selected on {row.selection} images; mean ± "
        "standard deviation over n seeds. Δ: +Ours minus plain, paired by seed"
        f"{interval_note(row.best_gain for row in rows)}. Published: best epoch. Time (h:mm:ss): "
        "training of all students of a joint run together"
    )
    if "Students" in hidden:
        caption += f", here {row.students}"
    if "Hardware" in hidden:
        caption += f", on {row.hardware}"
    return f"{caption}."
