"""The table: each method with and without standardization, beside the published values."""

from collections.abc import Sequence
from dataclasses import dataclass

from lskd_cli.config import METHODS, Preset
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


def method_name(preset: Preset) -> str:
    """The method of a preset, as the field's tables name it."""
    return preset.method.label


def arm_name(preset: Preset) -> str:
    """The method of a preset, and whether its logits are standardized."""
    return method_name(preset) + ("+Ours" if preset.standardized else "")


def in_tables(run: Run) -> tuple[int, str, bool, int]:
    """Runs sorted by this stand as in tables: by method, the standardized ones behind the plain."""
    preset = run.preset
    methods = [*METHODS, preset.method.name]
    place = methods.index(preset.method.name)
    return place, preset.name, preset.standardized, preset.seed


# Which fields of a row are statistics.
STATISTICS = ("base", "stand", "difference")


@dataclass
class Row:
    """One experiment: the runs of a preset with equal settings, with and without standardization.

    Attributes:
        name: of the preset.
        method: as tables name it.
        selection: images that the best epoch was chosen on, "test" or "val".
        base: accuracies in percent without standardization.
        stand: accuracies with it.
        difference: stand minus base, seed by seed.
        published_base: published accuracy without; likewise ``published_stand``.
        teacher_top1: accuracy that the teacher's file records.
    """

    name: str
    dataset: str
    teacher: str | None
    student: str
    method: str
    epochs: int
    selection: str
    teacher_top1: float | None
    base: Statistic | None
    stand: Statistic | None
    difference: Statistic | None
    published_base: float | None
    published_stand: float | None

    @property
    def published_difference(self) -> float | None:
        """Published gain of standardization."""
        if self.published_base is None or self.published_stand is None:
            return None
        return self.published_stand - self.published_base


def make_rows(runs: Sequence[Run], accuracy: str) -> list[Row]:
    """A row for each experiment among the finished runs, in the order of their names.

    Args:
        runs: finished or not.
        accuracy: "best" or "last" epoch.

    Raises:
        RequestError: two runs are of the same settings and seed.
    """
    plain: dict[str, dict[str, list[Run]]] = {}
    standardized: dict[str, dict[tuple[str, str], list[Run]]] = {}
    for run in runs:
        if not run.finished:
            continue
        key, preset = experiment(run), run.preset
        if preset.standardized:
            arm = (preset.name, str(preset.stand))
            standardized.setdefault(key, {}).setdefault(arm, []).append(run)
        else:
            plain.setdefault(key, {}).setdefault(preset.name, []).append(run)
    rows = []
    for key in sorted(plain.keys() | standardized.keys()):
        alone = dict(plain.get(key, {}))
        # The method alone is the same beside every setting of its standardization.
        any_plain = next(iter(alone.values()), [])
        for (name, _), arm_runs in sorted(standardized.get(key, {}).items()):
            rows.append(_row(plain.get(key, {}).get(name, any_plain), arm_runs, accuracy))
            alone.pop(name, None)
        if any_plain and key in standardized:
            alone.pop(any_plain[0].preset.name, None)
        rows += [_row(alone[name], [], accuracy) for name in sorted(alone)]
    return sorted(rows, key=lambda row: row.name)


def experiment(run: Run) -> str:
    """Equal for runs that differ at most in name, seed and standardization, on the same files."""
    settings = run.preset.model_dump_json(exclude={"name", "seed", "published", "stand"})
    return f"{settings} {run.info.get('teacher_sha256')} {run.info.get('images_sha256')}"


def _row(plain: Sequence[Run], standardized: Sequence[Run], accuracy: str) -> Row:
    runs = [*standardized, *plain]
    preset = runs[0].preset
    base, stand = by_seed(plain, accuracy), by_seed(standardized, accuracy)
    teachers = [r.info.get("teacher_top1") for r in runs if r.info.get("teacher_top1") is not None]
    return Row(
        name=preset.name,
        dataset=preset.data.name,
        teacher=preset.teacher,
        student=preset.student,
        method=method_name(preset),
        epochs=preset.schedule.epochs,
        selection="val" if preset.data.val_split else "test",
        teacher_top1=teachers[0] if teachers else None,
        base=Statistic.of(list(base.values())),
        stand=Statistic.of(list(stand.values())),
        difference=paired(base, stand),
        published_base=preset.published.top1,
        published_stand=preset.published.top1_stand,
    )


COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Data", "text", lambda row: row.dataset),
    Column("Teacher", "text", lambda row: row.teacher or ""),
    Column("top-1", "number", lambda row: value(row.teacher_top1)),
    Column("Student", "text", lambda row: row.student),
    Column("Method", "text", lambda row: row.method),
    Column("Epochs", "number", epochs),
    Column("n", "number", lambda row: counts(row.base, row.stand)),
    Column("Plain", "number", lambda row: statistic(row.base)),
    Column("+Ours", "ours", lambda row: statistic(row.stand)),
    Column("Δ", "ours", lambda row: gain(row.difference)),
    Column("Published", "published", lambda row: value(row.published_base)),
    Column("+Ours", "published", lambda row: value(row.published_stand)),
    Column("Δ", "published", lambda row: value(row.published_difference, "+.2f")),
)


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns that say something of these rows.

    Empty ones are left out, and the data where all rows have the same. Presets' names come in only
    where nothing else tells two rows apart.
    """
    identity = [(r.dataset, r.teacher, r.student, r.method, r.epochs) for r in rows]
    needless = set()
    if len(set(identity)) == len(rows):
        needless.add("Preset")
    if len({row.dataset for row in rows}) == 1:
        needless.add("Data")
    return telling(COLUMNS, rows, needless)


def caption(rows: Sequence[Row], accuracy: str) -> str:
    """What the numbers are; names the data where all rows have the same."""
    data = {row.dataset for row in rows}
    where = f" on {data.pop()}" if len(data) == 1 else ""
    return (
        f"Top-1 test accuracy (%){where} of {which_epoch(accuracy)}; "
        "Plain: the method alone, +Ours: standardized, Δ: their difference seed by seed"
        f"{with_interval(row.difference for row in rows)}."
    )
