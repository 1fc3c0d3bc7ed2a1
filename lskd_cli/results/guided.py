"""The table of vision transformers: alone, with locality guidance, with logits of the guide."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

from lskd_cli.config import Preset, list_presets, load_preset
from lskd_cli.results.runs import Run
from lskd_cli.results.statistic import Statistic, by_seed, paired
from lskd_cli.results.table import Column, counts, flat, statistic, value

_ORDINARY_SIZE = 32  # pixels that all other students see
# The arms of a row, in the order of the published table.
_METHODS = ("none", "guidance", "kd")


@dataclass
class GuidedRow:
    """One transformer, by everything it was trained with.

    Attributes:
        name: of the preset of its last arm that was run.
        alone: accuracies in percent without a teacher.
        locality: with locality guidance.
        kd: with the teacher's plain logits.
        stand: with standardized logits.
        gain: stand minus alone, seed by seed.
    """

    name: str
    dataset: str
    teacher: str | None
    teacher_top1: float | None
    student: str
    epochs: int
    selection: str
    alone: Statistic | None
    locality: Statistic | None
    kd: Statistic | None
    stand: Statistic | None
    gain: Statistic | None
    published_alone: float | None
    published_locality: float | None
    published_stand: float | None


def is_guided(run: Run) -> bool:
    """Whether a run belongs in this table."""
    return run.preset.data.image_size > _ORDINARY_SIZE and run.preset.method.name in _METHODS


def make_guided_rows(runs: Sequence[Run], accuracy: str) -> list[GuidedRow]:
    """A row for each transformer and recipe among the finished runs; more for other settings.

    Raises:
        RequestError: two runs are of the same settings and seed.
    """
    groups: dict[str, dict[tuple[str, bool], dict[str, list[Run]]]] = {}
    for run in runs:
        if run.finished:
            preset = run.preset
            arms = groups.setdefault(_recipe(preset), {})
            settings = arms.setdefault((preset.method.name, preset.standardized), {})
            settings.setdefault(_settings(run), []).append(run)
    rows = []
    for arms in groups.values():
        kinds = (("none", False), ("guidance", False), ("kd", False), ("kd", True))
        columns = [[found for _, found in sorted(arms.get(kind, {}).items())] for kind in kinds]
        # Runs of one kind with other settings stand in a row of their own.
        rows += [_row(arm_runs, accuracy) for arm_runs in zip_longest(*columns, fillvalue=[])]
    return sorted(rows, key=lambda row: (row.student, row.name))


def _recipe(preset: Preset) -> str:
    """Equal for presets of one transformer that differ in their method alone."""
    others = {"name", "seed", "teacher", "method", "stand", "published"}
    return preset.model_dump_json(exclude=others)


def _settings(run: Run) -> str:
    preset = run.preset
    return f"{preset.name} {preset.applied_method()} {run.info.get('teacher_sha256')}"


def _row(arms: Sequence[Sequence[Run]], accuracy: str) -> GuidedRow:
    runs = [run for arm in arms for run in arm]
    preset = runs[-1].preset
    alone, locality, kd, stand = (by_seed(arm, accuracy) for arm in arms)
    taught = [run for run in runs if run.preset.teacher]
    published = _published(preset.student)
    return GuidedRow(
        name=preset.name,
        dataset=preset.data.name,
        teacher=taught[0].preset.teacher if taught else None,
        teacher_top1=taught[0].info.get("teacher_top1") if taught else None,
        student=preset.student,
        epochs=preset.schedule.epochs,
        selection="val" if preset.data.val_split else "test",
        alone=Statistic.of(list(alone.values())),
        locality=Statistic.of(list(locality.values())),
        kd=Statistic.of(list(kd.values())),
        stand=Statistic.of(list(stand.values())),
        gain=paired(alone, stand),
        published_alone=published.get("none"),
        published_locality=published.get("guidance"),
        published_stand=published.get("kd"),
    )


@cache
def _published(student: str) -> dict[str, float | None]:
    """Published accuracies of a transformer by method; with standardization those of kd."""
    presets = (load_preset(name) for name in list_presets())
    return {
        preset.method.name: preset.published.top1_stand or preset.published.top1
        for preset in presets
        if preset.student == student and preset.method.name in _METHODS
    }


COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Data", "text", lambda row: row.dataset),
    Column("Student", "text", lambda row: row.student),
    Column("Teacher", "text", lambda row: row.teacher or ""),
    Column("top-1", "number", lambda row: value(row.teacher_top1)),
    Column("Epochs", "number", lambda row: f"{row.epochs}{' (val)' * (row.selection == 'val')}"),
    Column("n", "number", lambda row: counts(row.alone, row.locality, row.kd, row.stand)),
    Column("Base", "number", lambda row: statistic(row.alone)),
    Column("Locality", "number", lambda row: statistic(row.locality)),
    Column("KD", "number", lambda row: statistic(row.kd)),
    Column("KD+Ours", "ours", lambda row: statistic(row.stand)),
    Column("Δ", "ours", lambda row: statistic(row.gain, signed=True)),
    Column("Published", "published", lambda row: value(row.published_alone)),
    Column("Locality", "published", lambda row: value(row.published_locality)),
    Column("KD+Ours", "published", lambda row: value(row.published_stand)),
)


def guided_columns(rows: Sequence[GuidedRow]) -> list[Column]:
    """The columns that say something; presets' names where nothing else tells two rows apart."""
    needless = set()
    if len({(row.student, row.epochs) for row in rows}) == len(rows):
        needless.add("Preset")
    if len({row.dataset for row in rows}) == 1:
        needless.add("Data")
    return [
        column
        for column in COLUMNS
        if column.heading not in needless and any(column.text(row) for row in rows)
    ]


def guided_caption(accuracy: str) -> str:
    """What the numbers are."""
    which = "the best epoch, as published" if accuracy == "best" else "the last epoch"
    return (
        f"Vision transformers: top-1 test accuracy (%) of {which}; Base: alone, Locality: features "
        "of the teacher, KD: its logits, +Ours: standardized, Δ: KD+Ours against Base."
    )


def guided_record(row: GuidedRow, accuracy: str) -> dict[str, Any]:
    """A flat mapping of a row: machine output."""
    record: dict[str, Any] = {"accuracy": accuracy}
    for key, entry in vars(row).items():
        is_statistic = key in ("alone", "locality", "kd", "stand", "gain")
        record |= flat(key, entry) if is_statistic else {key: entry}
    return record
