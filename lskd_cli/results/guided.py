"""The table of vision transformers: alone, with locality guidance, with logits of the guide."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from lskd_cli.config import CROP_SIZE, list_presets, load_preset
from lskd_cli.results.runs import Run
from lskd_cli.results.statistic import Statistic, by_seed, paired
from lskd_cli.results.table import (
    Column,
    counts,
    epochs,
    gain,
    statistic,
    telling,
    value,
    which_epoch,
    with_interval,
)

# The arms of a row, in the order of the published table.
_METHODS = ("none", "guidance", "kd")

# Which fields of a row are statistics.
GUIDED_STATISTICS = ("alone", "locality", "kd", "stand", "gain")


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
    data = run.preset.data
    is_enlarged = data.name == "cifar100" and data.image_size > CROP_SIZE
    return is_enlarged and run.preset.method.name in _METHODS


def make_guided_rows(runs: Sequence[Run], accuracy: str) -> list[GuidedRow]:
    """A row for each transformer, recipe and teacher among the finished runs.

    More of them where an arm was run with other settings, which have names of their own: the arms
    that are the same stand in all of them.

    Raises:
        RequestError: two runs are of the same settings and seed.
    """
    finished = [run for run in runs if run.finished]
    alone = _grouped(run for run in finished if run.preset.method.name == "none")
    taught = _grouped(run for run in finished if run.preset.method.name != "none")
    rows = []
    for (recipe, _), group in taught.items():
        for arms in _combined(group):
            rows.append(_row([*alone.get((recipe, None), []), *arms], accuracy))
    of_taught = {recipe for recipe, _ in taught}
    rows += [_row(arm, accuracy) for (recipe, _), arm in alone.items() if recipe not in of_taught]
    return sorted(rows, key=lambda row: (row.student, row.name))


def _grouped(runs: Iterable[Run]) -> dict[tuple[str, str | None], list[Run]]:
    """Runs by recipe and teacher's file."""
    groups: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        others = {"name", "seed", "teacher", "method", "stand", "published"}
        recipe = run.preset.model_dump_json(exclude=others)
        teacher = run.preset.teacher and f"{run.preset.teacher} {run.info.get('teacher_sha256')}"
        groups.setdefault((recipe, teacher), []).append(run)
    return groups


def _combined(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """The runs of each row: one name of guidance, and one of logits, at a time."""
    names: dict[str, dict[str, list[Run]]] = {"guidance": {}, "kd": {}}
    for run in runs:
        preset = run.preset
        settings = f"{preset.name} {preset.method} {preset.stand and preset.stand.changes()}"
        names[preset.method.name].setdefault(settings, []).append(run)
    guidances, logits_of_each = (list(found.values()) or [[]] for found in names.values())
    for guided, logits in product(guidances, logits_of_each):
        yield [*guided, *logits]


def _row(runs: Sequence[Run], accuracy: str) -> GuidedRow:
    preset = runs[-1].preset
    kinds = (("none", False), ("guidance", False), ("kd", False), ("kd", True))
    alone, locality, kd, stand = (
        by_seed([run for run in runs if _kind(run) == kind], accuracy) for kind in kinds
    )
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


def _kind(run: Run) -> tuple[str, bool]:
    return run.preset.method.name, run.preset.standardized


@cache
def _published(student: str) -> dict[str, float | None]:
    """Published accuracies of a transformer by method; with standardization those of kd."""
    names = (name for name in list_presets() if name.startswith(("alone-", "guidance-", "kd-")))
    return {
        preset.method.name: preset.published.top1_stand or preset.published.top1
        for preset in map(load_preset, names)
        if preset.student == student
    }


COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Data", "text", lambda row: row.dataset),
    Column("Student", "text", lambda row: row.student),
    Column("Teacher", "text", lambda row: row.teacher or ""),
    Column("top-1", "number", lambda row: value(row.teacher_top1)),
    Column("Epochs", "number", epochs),
    Column("n", "number", lambda row: counts(row.alone, row.locality, row.kd, row.stand)),
    Column("Base", "number", lambda row: statistic(row.alone)),
    Column("Locality", "number", lambda row: statistic(row.locality)),
    Column("KD", "number", lambda row: statistic(row.kd)),
    Column("KD+Ours", "ours", lambda row: statistic(row.stand)),
    Column("Δ", "ours", lambda row: gain(row.gain)),
    Column("Published base", "published", lambda row: value(row.published_alone)),
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
    return telling(COLUMNS, rows, needless)


def guided_caption(rows: Sequence[GuidedRow], accuracy: str) -> str:
    """What the numbers are."""
    return (
        f"Vision transformers: top-1 test accuracy (%) of {which_epoch(accuracy)}; Base: alone, "
        "Locality: features of the teacher, KD: its logits, +Ours: standardized, "
        f"Δ: KD+Ours against Base{with_interval(row.gain for row in rows)}."
    )
