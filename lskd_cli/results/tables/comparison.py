"""The comparison table: every method with and without standardization, and published values."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from lskd_cli.results.grouping import MethodRuns, RunGroup, method_name, name_sort_key
from lskd_cli.results.runs import EpochName, Run
from lskd_cli.results.seed_stats import SeedStats, paired_difference, top1_by_seed
from lskd_cli.results.tables.result_row import ResultRow, hardware_note, training_fields
from lskd_cli.results.tables.table_format import (
    Column,
    Table,
    difference_column,
    epoch_note,
    flatten_row,
    format_duration,
    format_epochs,
    format_limit,
    format_n,
    format_stats,
    format_value,
    interval_note,
    published_column,
    published_note,
    visible_columns,
)
from lskd_cli.wording import counted

_STATS_FIELDS = ("plain", "standardized", "difference")


@dataclass(kw_only=True)
class ComparisonRow(ResultRow):
    """A method with and without standardization.

    Attributes:
        method: label of the method.
        plain: accuracies in percent without standardization.
        standardized: accuracies in percent with standardization.
        difference: standardized minus plain, paired by seed.
        published_plain: published accuracy without standardization.
        published_standardized: published accuracy with standardization.
        student_passes: passes of a student over the training images: epochs times views.
        seconds: training time, mean over the runs, of all students of a joint run together.
    """

    method: str
    plain: SeedStats | None
    standardized: SeedStats | None
    difference: SeedStats | None
    published_plain: float | None
    published_standardized: float | None
    student_passes: int
    seconds: float

    @property
    def published_difference(self) -> float | None:
        """Published gain of standardization."""
        if self.published_plain is None or self.published_standardized is None:
            return None
        return self.published_standardized - self.published_plain


def make_comparison(groups: Sequence[RunGroup], epoch: EpochName) -> Table | None:
    """The comparison table of the finished runs of groups; None if there are none.

    Args:
        groups: groups of runs.
        epoch: the best or the last epoch.

    Raises:
        RequestError: two runs have the same settings and seed.
    """
    groups = [finished for group in groups if (finished := group.finished())]
    pairs = _pairs(groups)
    rows = sorted(
        (_row(plain, standardized, epoch) for plain, standardized in pairs),
        key=lambda row: (name_sort_key(row.name), row.precision or ""),
    )
    if not rows:
        return None
    records = [{"accuracy": epoch} | flatten_row(row, _STATS_FIELDS) for row in rows]
    notes = published_note(rows) + hardware_note(pairs) + _mean_gains(rows)
    equal_budget = any(group.has_equal_budget for group in groups)
    return Table(
        _title(rows, epoch, equal_budget),
        _caption(rows, equal_budget),
        notes.strip(),
        _columns(rows, equal_budget),
        rows,
        records,
    )


def _pairs(groups: Sequence[RunGroup]) -> list[tuple[list[Run], list[Run]]]:
    """Plain and standardized runs of every row; one of them may be empty."""
    methods: dict[int, MethodRuns] = {}
    for method in (method for group in groups for method in group.methods):
        # Student baselines are part of several groups.
        methods.setdefault(id(method.runs[0]), method)
    pairs = [(m.plain, m.runs) for m in methods.values() if m.preset.standardized]
    paired = {id(run) for plain, _ in pairs for run in plain}
    pairs += [
        (method.runs, [])
        for method in methods.values()
        if not method.preset.standardized and id(method.runs[0]) not in paired
    ]
    return pairs


def _row(plain: Sequence[Run], standardized: Sequence[Run], epoch: EpochName) -> ComparisonRow:
    runs = [*standardized, *plain]
    plain_top1 = top1_by_seed(plain, epoch)
    standardized_top1 = top1_by_seed(standardized, epoch)
    published = runs[0].preset.published
    return ComparisonRow(
        **training_fields(runs),
        method=method_name(runs[0]),
        plain=SeedStats.of(list(plain_top1.values())),
        standardized=SeedStats.of(list(standardized_top1.values())),
        difference=paired_difference(plain_top1, standardized_top1),
        published_plain=published.top1,
        published_standardized=published.top1_stand,
        student_passes=runs[0].preset.student_passes,
        seconds=mean(run.info.seconds for run in runs),
    )


def _mean_gains(rows: Sequence[ComparisonRow]) -> str:
    """Sentences with the mean difference of each method over several pairs, weighted equally.

    Rows of different data, lengths or precisions have sentences of their own. If a pair has several
    presets, the first one counts.
    """
    gains: dict[tuple[str, str], dict[tuple[str | None, str], float]] = {}
    for row in rows:
        if row.difference is not None:
            facts = (row.data_label, counted(row.epochs, "epoch"), row.selection, row.precision)
            settings = ", ".join(fact for fact in facts if fact not in ("test", None))
            pairs = gains.setdefault((row.method, settings), {})
            pairs.setdefault((row.teacher, row.student), row.difference.mean)
    is_single = len({settings for _, settings in gains}) == 1
    sentences = []
    for (method, settings), pairs in gains.items():
        stats = SeedStats.of(list(pairs.values()))
        if stats is not None and stats.n > 1:
            where = "" if is_single else f" ({settings})"
            text = stats.difference_text()
            sentences.append(f" Mean Δ of {method} over {stats.n} pairs{where}: {text}.")
    return "".join(sentences)


_COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Data", "text", lambda row: row.dataset),
    Column("Images", "number", lambda row: format_limit(row.limit_train)),
    Column("Teacher", "text", lambda row: row.teacher or ""),
    Column("top-1", "number", lambda row: format_value(row.teacher_top1)),
    Column("Student", "text", lambda row: row.student),
    Column("Method", "text", lambda row: row.method),
    Column("Epochs", "number", format_epochs),
    Column("Precision", "text", lambda row: row.precision or ""),
    Column("n", "number", lambda row: format_n(row.plain, row.standardized, row.difference)),
    Column("Plain", "number", lambda row: format_stats(row.plain)),
    Column("+Ours", "number", lambda row: format_stats(row.standardized)),
    difference_column("Δ", "difference"),
    Column("Passes", "number", lambda row: str(row.student_passes)),
    Column("Time", "number", lambda row: format_duration(row.seconds)),
    published_column("Published", "published_plain"),
    published_column("+Ours", "published_standardized"),
    published_column("Δ", "published_difference", "+.2f"),
)


def _columns(rows: Sequence[ComparisonRow], equal_budget: bool) -> list[Column]:
    """The columns without those that are empty or do not distinguish rows."""
    hidden = set() if equal_budget else {"Passes", "Time"}
    identities = [
        (r.data_label, r.teacher, r.student, r.method, r.epochs, r.precision) for r in rows
    ]
    if len(set(identities)) == len(rows):
        hidden.add("Preset")
    if len({row.dataset for row in rows}) == 1:
        hidden.add("Data")
    if len({row.limit_train for row in rows}) == 1:
        hidden.add("Images")
    if len({row.precision for row in rows}) == 1:
        hidden.add("Precision")
    return visible_columns(_COLUMNS, rows, hidden)


def _title(rows: Sequence[ComparisonRow], epoch: EpochName, equal_budget: bool) -> str:
    labels, datasets = ({row.data_label for row in rows}, {row.dataset for row in rows})
    shared = labels if len(labels) == 1 else datasets
    on_dataset = f" on {shared.pop()}" if len(shared) == 1 else ""
    note = epoch_note(epoch, {row.selection for row in rows})
    budget = " after equal numbers of student passes" if equal_budget else ""
    return f"Top-1 test accuracy (%){on_dataset} of {note}{budget}"


def _caption(rows: Sequence[ComparisonRow], equal_budget: bool) -> str:
    caption = (
        "Plain: without standardization, +Ours: standardized, Δ: their difference, paired by seed"
        f"{interval_note(row.difference for row in rows)}."
    )
    if equal_budget:
        caption += (
            " Passes: epochs times views of each image. Time (h:mm:ss): training of all students "
            "of a joint run together."
        )
    return caption
