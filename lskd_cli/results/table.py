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
    plain: dict[str, list[Run]] = {}
    standardized: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        if run.finished and run.preset.standardized:
            settings = standardized.setdefault(_experiment(run), {})
            settings.setdefault(str(run.preset.stand), []).append(run)
        elif run.finished:
            plain.setdefault(_experiment(run), []).append(run)
    rows = []
    for key in sorted(plain.keys() | standardized.keys()):
        # The method alone is the same beside every setting of its standardization.
        settings = standardized.get(key, {"": []})
        rows += [_row(plain.get(key, []), settings[name], accuracy) for name in sorted(settings)]
    return rows


def _experiment(run: Run) -> str:
    """Equal for runs that differ at most in seed and in standardization."""
    preset = run.preset.model_copy(update={"seed": 0})
    return preset.model_dump_json(exclude={"published", "stand"}) + str(
        run.info.get("teacher_sha256")
    )


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
    runs = [*plain, *standardized]
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


HEADINGS = (
    "Data", "Teacher", "top-1", "Student", "Method", "Epochs", "n", "Plain", "+Ours", "Δ",
    "Published", "+Ours", "Δ",
)  # fmt: skip
TEXT_HEADINGS = ("Data", "Teacher", "Student", "Method")  # the others are numbers


def cells(row: Row) -> list[str]:
    """The texts of a row, one for each of ``HEADINGS``."""
    return [
        row.dataset,
        row.teacher or "",
        _value(row.teacher_top1),
        row.student,
        row.method,
        str(row.epochs) + (" (val)" if row.selection == "val" else ""),
        _counts(row),
        row.base.text() if row.base else "",
        row.stand.text() if row.stand else "",
        row.difference.text(signed=True) if row.difference else "",
        _value(row.published_base),
        _value(row.published_stand),
        _value(row.published_difference, "+.2f"),
    ]


def caption(accuracy: str) -> str:
    """What the numbers are."""
    which = "the best epoch, as published" if accuracy == "best" else "the last epoch"
    return f"Top-1 test accuracy (%) of {which}; Plain: the method alone, +Ours: standardized."


def _counts(row: Row) -> str:
    counts = sorted({s.n for s in (row.base, row.stand) if s}, reverse=True)
    return "/".join(map(str, counts))


def _value(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def as_markdown(rows: Sequence[Row], accuracy: str) -> str:
    """A Markdown table with its caption."""
    return f"{caption(accuracy)}\n\n{_tabulate(rows, 'pipe')}\n"


def as_latex(rows: Sequence[Row], accuracy: str) -> str:
    """A LaTeX tabular for the booktabs package, its caption as a comment."""
    body = _tabulate(rows, "latex_booktabs").replace("Δ", r"$\Delta$").replace("±", r"$\pm$")
    return f"% {caption(accuracy)}\n{body}\n"


def _tabulate(rows: Sequence[Row], form: str) -> str:
    alignment = ["left" if heading in TEXT_HEADINGS else "right" for heading in HEADINGS]
    texts = [cells(row) for row in rows]
    return tabulate(texts, HEADINGS, tablefmt=form, colalign=alignment, disable_numparse=True)


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
