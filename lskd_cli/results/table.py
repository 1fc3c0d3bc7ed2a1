"""The table: each method with and without standardization, beside the published values."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from tabulate import tabulate

from lskd_cli.errors import RequestError
from lskd_cli.results.runs import Run

# As the field's tables name them.
METHOD_NAMES = {"none": "alone", "kd": "KD", "dkd": "DKD", "mlkd": "MLKD", "ctkd": "CTKD"}


@dataclass
class Statistic:
    """Mean and standard deviation (unbiased; None for one value) of n values."""

    n: int
    mean: float
    deviation: float | None

    @staticmethod
    def of(values: Sequence[float]) -> "Statistic | None":
        """Of some values; None of none."""
        if not values:
            return None
        return Statistic(len(values), mean(values), stdev(values) if len(values) > 1 else None)

    def text(self, signed: bool = False) -> str:
        """As in a table: 76.62 ± 0.11."""
        start = f"{self.mean:+.2f}" if signed else f"{self.mean:.2f}"
        return start if self.deviation is None else f"{start} ± {self.deviation:.2f}"


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
        key, preset = _experiment(run), run.preset
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


def _experiment(run: Run) -> str:
    """Equal for runs that differ at most in name, seed and standardization."""
    settings = run.preset.model_dump_json(exclude={"name", "seed", "published", "stand"})
    return f"{settings} {run.info.get('teacher_sha256')}"


def _by_seed(runs: Sequence[Run], accuracy: str) -> dict[int, float]:
    found: dict[int, Run] = {}
    for run in runs:
        seed = run.preset.seed
        if seed in found:
            raise RequestError(
                f"{run.path}: the same run as {found[seed].path}; name one of the two"
            )
        found[seed] = run
    return {seed: run.top1(accuracy) for seed, run in found.items()}


def _row(plain: Sequence[Run], standardized: Sequence[Run], accuracy: str) -> Row:
    runs = [*standardized, *plain]
    preset = runs[0].preset
    base, stand = _by_seed(plain, accuracy), _by_seed(standardized, accuracy)
    gains = [stand[seed] - base[seed] for seed in sorted(base.keys() & stand.keys())]
    teachers = [r.info.get("teacher_top1") for r in runs if r.info.get("teacher_top1") is not None]
    return Row(
        name=preset.name,
        dataset=preset.data.name,
        teacher=preset.teacher,
        student=preset.student,
        method=METHOD_NAMES.get(preset.method.name, preset.method.name),
        epochs=preset.schedule.epochs,
        selection="val" if preset.data.val_split else "test",
        teacher_top1=teachers[0] if teachers else None,
        base=Statistic.of(list(base.values())),
        stand=Statistic.of(list(stand.values())),
        difference=Statistic.of(gains),
        published_base=preset.published.top1,
        published_stand=preset.published.top1_stand,
    )


@dataclass(frozen=True)
class Column:
    """One column of the table: its heading, what it shows of a row, and what kind of thing that is.

    Kinds: text, number, ours (measured with standardization), published.
    """

    heading: str
    kind: str
    text: Callable[[Row], str]


COLUMNS = (
    Column("Preset", "text", lambda row: row.name),
    Column("Data", "text", lambda row: row.dataset),
    Column("Teacher", "text", lambda row: row.teacher or ""),
    Column("top-1", "number", lambda row: _value(row.teacher_top1)),
    Column("Student", "text", lambda row: row.student),
    Column("Method", "text", lambda row: row.method),
    Column("Epochs", "number", lambda row: _epochs(row)),
    Column("n", "number", lambda row: _counts(row)),
    Column("Plain", "number", lambda row: row.base.text() if row.base else ""),
    Column("+Ours", "ours", lambda row: row.stand.text() if row.stand else ""),
    Column("Δ", "ours", lambda row: row.difference.text(signed=True) if row.difference else ""),
    Column("Published", "published", lambda row: _value(row.published_base)),
    Column("+Ours", "published", lambda row: _value(row.published_stand)),
    Column("Δ", "published", lambda row: _value(row.published_difference, "+.2f")),
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
    return [
        column
        for column in COLUMNS
        if column.heading not in needless and any(column.text(row) for row in rows)
    ]


def caption(rows: Sequence[Row], accuracy: str) -> str:
    """What the numbers are; names the data where all rows have the same."""
    data = {row.dataset for row in rows}
    where = f" on {data.pop()}" if len(data) == 1 else ""
    which = "the best epoch, as published" if accuracy == "best" else "the last epoch"
    return (
        f"Top-1 test accuracy (%){where} of {which}; Plain: the method alone, +Ours: standardized."
    )


def _epochs(row: Row) -> str:
    return f"{row.epochs} (val)" if row.selection == "val" else str(row.epochs)


def _counts(row: Row) -> str:
    counts = sorted({s.n for s in (row.base, row.stand) if s}, reverse=True)
    return "/".join(map(str, counts))


def _value(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def as_markdown(rows: Sequence[Row], accuracy: str) -> str:
    """A Markdown table with its caption."""
    return f"{caption(rows, accuracy)}\n\n{_tabulate(rows, 'pipe')}\n"


def as_latex(rows: Sequence[Row], accuracy: str) -> str:
    """A LaTeX tabular for the booktabs package, its caption as a comment."""
    body = _tabulate(rows, "latex_booktabs").replace("Δ", r"$\Delta$").replace("±", r"$\pm$")
    return f"% {caption(rows, accuracy)}\n{body}\n"


def _tabulate(rows: Sequence[Row], form: str) -> str:
    shown = columns(rows)
    return tabulate(
        [[column.text(row) for column in shown] for row in rows],
        [column.heading for column in shown],
        tablefmt=form,
        colalign=["left" if column.kind == "text" else "right" for column in shown],
        disable_numparse=True,
    )


def as_csv(rows: Sequence[Row], accuracy: str) -> str:
    """Comma-separated values, one column for each number."""
    records = [as_record(row, accuracy) for row in rows]
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return text.getvalue()


def as_record(row: Row, accuracy: str) -> dict[str, Any]:
    """A flat mapping of a row: machine output."""
    record: dict[str, Any] = {"accuracy": accuracy}
    for key, value in asdict(row).items():
        if key in ("base", "stand", "difference"):
            for part in ("n", "mean", "deviation"):
                record[f"{key}_{part}"] = value[part] if value else (0 if part == "n" else None)
        else:
            record[key] = value
    return record


TEXT_FORMATS: dict[str, Callable[[Sequence[Row], str], str]] = {
    "md": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
