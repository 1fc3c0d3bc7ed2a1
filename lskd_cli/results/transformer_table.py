"""The table of vision transformers: baseline, locality guidance, and distillation of logits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from lskd_cli.config import DEFAULT_IMAGE_SIZE, list_presets, load_preset
from lskd_cli.results.grouping import ExperimentKey, MethodRuns, RunGroup, experiment_key
from lskd_cli.results.result_row import ResultRow, training_fields
from lskd_cli.results.runs import Run
from lskd_cli.results.seed_stats import SeedStats, paired_difference, top1_by_seed
from lskd_cli.results.table_format import (
    Column,
    Table,
    difference_column,
    epoch_note,
    flatten_row,
    format_epochs,
    format_n,
    format_stats,
    format_value,
    interval_note,
    published_column,
    published_note,
    visible_columns,
)

# Methods of the published table.
_METHODS = ("none", "guidance", "kd")
_STATS_FIELDS = ("baseline", "locality", "kd", "standardized", "gain")


@dataclass(kw_only=True)
class TransformerRow(ResultRow):
    """A transformer with all its trainings.

    Attributes:
        baseline: accuracies in percent without a teacher.
        locality: accuracies with locality guidance.
        kd: accuracies with plain logits of the teacher.
        standardized: accuracies with standardized logits.
        gain: standardized minus baseline, paired by seed.
        published_baseline: published accuracy without a teacher.
        published_locality: published accuracy with locality guidance.
        published_standardized: published accuracy with standardized logits.
    """

    baseline: SeedStats | None
    locality: SeedStats | None
    kd: SeedStats | None
    standardized: SeedStats | None
    gain: SeedStats | None
    published_baseline: float | None
    published_locality: float | None
    published_standardized: float | None


def is_transformer_run(run: Run) -> bool:
    """Whether a run belongs to this table."""
    data = run.preset.data
    is_enlarged = data.name == "cifar100" and data.image_size > DEFAULT_IMAGE_SIZE
    return is_enlarged and run.preset.method.name in _METHODS


def make_transformer_table(groups: Sequence[RunGroup], accuracy: str) -> Table | None:
    """The table of finished runs of transformers; None if there are none.

    Args:
        groups: groups of finished runs of transformers.
        accuracy: "best" or "last" epoch.

    Raises:
        RequestError: two runs have the same settings and seed.
    """
    rows = [_row(runs, accuracy) for runs in _row_runs(groups)]
    if not rows:
        return None
    rows.sort(key=lambda row: (row.student, row.name))
    records = [{"accuracy": accuracy} | flatten_row(row, _STATS_FIELDS) for row in rows]
    title = f"Vision transformers: top-1 test accuracy (%) of {epoch_note(accuracy)}"
    notes = published_note(rows).strip()
    return Table(title, _caption(rows), notes, _columns(rows), rows, records)


def _row_runs(groups: Sequence[RunGroup]) -> list[list[Run]]:
    """The runs of every row; a baseline is in the rows of all distilled students of its recipe."""
    row_runs: dict[tuple[int, ...], list[Run]] = {}
    for group in groups:
        recipes: dict[str, list[MethodRuns]] = {}
        for method in group.methods:
            recipes.setdefault(_recipe(method.runs[0]), []).append(method)
        for methods in (row for recipe in recipes.values() for row in _combinations(recipe)):
            runs = [run for method in methods for run in method.runs]
            row_runs.setdefault(tuple(id(run) for run in runs), runs)
    distilled = [runs for runs in row_runs.values() if any(run.preset.teacher for run in runs)]
    covered = {id(run) for runs in distilled for run in runs}
    return distilled + [
        runs for runs in row_runs.values() if not {id(run) for run in runs} & covered
    ]


def _recipe(run: Run) -> str:
    excluded = {"name", "seed", "teacher", "method", "stand", "published"}
    return run.preset.model_dump_json(exclude=excluded)


def _combinations(methods: Sequence[MethodRuns]) -> Iterator[list[MethodRuns]]:
    """The methods of each row: one setting of guidance and one of kd, and the baseline."""
    baselines = [m for m in methods if m.preset.method.name == "none"]
    guidance = [[m] for m in methods if m.preset.method.name == "guidance"]
    kd: dict[tuple[str, ExperimentKey, str], list[MethodRuns]] = {}
    for method in methods:
        preset = method.preset
        if preset.method.name == "kd":
            stand = str(preset.stand.overrides()) if preset.stand else ""
            key = (preset.name, experiment_key(method.runs[0]), stand)
            kd.setdefault(key, []).append(method)
    for guided, logits in product(guidance or [[]], list(kd.values()) or [[]]):
        yield [*baselines, *guided, *logits]


def _row(runs: Sequence[Run], accuracy: str) -> TransformerRow:
    selections = (("none", False), ("guidance", False), ("kd", False), ("kd", True))
    baseline, locality, kd, standardized = (
        top1_by_seed(
            [run for run in runs if (run.preset.method.name, run.preset.standardized) == selection],
            accuracy,
        )
        for selection in selections
    )
    fields = training_fields(runs)
    published = _published(fields["student"])
    return TransformerRow(
        **fields | {"name": runs[-1].preset.name},
        baseline=SeedStats.of(list(baseline.values())),
        locality=SeedStats.of(list(locality.values())),
        kd=SeedStats.of(list(kd.values())),
        standardized=SeedStats.of(list(standardized.values())),
        gain=paired_difference(baseline, standardized),
        published_baseline=published.get("none"),
        published_locality=published.get("guidance"),
        published_standardized=published.get("kd"),
    )


@cache
def _published(student: str) -> dict[str, float | None]:
    """Published accuracies of a transformer by method; those of kd are standardized."""
    names = (name for name in list_presets() if name.startswith(("alone-", "guidance-", "kd-")))
    presets = (load_preset(name, allow_unknown_method=True) for name in names)
    return {
        preset.method.name: preset.published.top1_stand or preset.published.top1
        for preset in presets
        if preset.student == student
    }


_COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Data", "text", lambda row: row.dataset),
    Column("Student", "text", lambda row: row.student),
    Column("Teacher", "text", lambda row: row.teacher or ""),
    Column("top-1", "number", lambda row: format_value(row.teacher_top1)),
    Column("Epochs", "number", format_epochs),
    Column(
        "n",
        "number",
        lambda row: format_n(row.baseline, row.locality, row.kd, row.standardized),
    ),
    Column("Baseline", "number", lambda row: format_stats(row.baseline)),
    Column("Locality", "number", lambda row: format_stats(row.locality)),
    Column("KD", "number", lambda row: format_stats(row.kd)),
    Column("KD+Ours", "number", lambda row: format_stats(row.standardized)),
    difference_column("Δ", "gain"),
    published_column("Published baseline", "published_baseline"),
    published_column("Locality", "published_locality"),
    published_column("KD+Ours", "published_standardized"),
)


def _columns(rows: Sequence[TransformerRow]) -> list[Column]:
    """The columns without those that are empty or do not distinguish rows."""
    hidden = set()
    if len({(row.student, row.epochs) for row in rows}) == len(rows):
        hidden.add("Preset")
    if len({row.dataset for row in rows}) == 1:
        hidden.add("Data")
    return visible_columns(_COLUMNS, rows, hidden)


def _caption(rows: Sequence[TransformerRow]) -> str:
    return (
        "Baseline: no teacher, Locality: features of the teacher, KD: logits of the teacher, "
        "+Ours: standardized, Δ: KD+Ours minus baseline, paired by seed"
        f"{interval_note(row.gain for row in rows)}."
    )
