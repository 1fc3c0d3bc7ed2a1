"""A table for each setting: every method, both epochs, how long it took and on what."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from statistics import mean

from lskd_cli.results.comparison import arm_name, experiment, in_tables
from lskd_cli.results.runs import Run
from lskd_cli.results.settings import by_setting
from lskd_cli.results.statistic import Statistic, by_seed, paired
from lskd_cli.results.table import (
    Column,
    Table,
    clock,
    gain,
    record,
    statistic,
    telling,
    value,
    with_interval,
)

_STATISTICS = ("best", "best_gain", "last", "last_gain")


@dataclass
class Arm:
    """One method in a setting, with or without standardization: the runs of all its seeds.

    Attributes:
        name: of the preset.
        teacher_top1: accuracy that the teacher's file records.
        selection: images that the best epoch was chosen on, "test" or "val".
        method: as tables name it.
        n: number of runs.
        best: accuracies in percent of the best epochs; last: of the last ones.
        best_gain: standardized minus plain, seed by seed; likewise ``last_gain``.
        seconds: of training, mean over the runs; of all students of a pass together.
        hardware: devices and precisions.
        students: how many learned in one pass.
    """

    name: str
    dataset: str
    teacher: str | None
    teacher_top1: float | None
    student: str
    epochs: int
    selection: str
    method: str
    n: int
    best: Statistic | None
    best_gain: Statistic | None
    last: Statistic | None
    last_gain: Statistic | None
    published: float | None
    seconds: float
    hardware: str
    students: str


def make_details(runs: Sequence[Run]) -> list[Table]:
    """The tables of all settings among the finished runs, as ``by_setting`` finds them.

    Raises:
        RequestError: two runs are of the same settings and seed.
    """
    return [_table(group) for group in by_setting([run for run in runs if run.finished])]


def _table(runs: Sequence[Run]) -> Table:
    arms = list(_arms(runs))
    needless = _needless(arms)
    columns = telling(COLUMNS, arms, needless)
    records = [record(arm, _STATISTICS) for arm in arms]
    return Table(_caption(arms, needless), columns, arms, records)


def _arms(runs: Sequence[Run]) -> Iterator[Arm]:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        # The settings of a standardization matter where it is on.
        stand = str(run.preset.stand) if run.preset.standardized else ""
        key = (run.preset.name, stand, experiment(run))
        groups.setdefault(key, []).append(run)
    plain = [group for group in groups.values() if not group[0].preset.standardized]
    for group in sorted(groups.values(), key=lambda group: in_tables(group[0])):
        first = group[0].preset
        # The plain runs that differ in nothing else; of the same name, if several do.
        like = [runs for runs in plain if experiment(runs[0]) == experiment(group[0])]
        like.sort(key=lambda runs: runs[0].preset.name != first.name)
        base = like[0] if like and first.standardized else []
        best, last = (by_seed(group, epoch) for epoch in ("best", "last"))
        published = first.published
        yield Arm(
            name=first.name,
            dataset=first.data.name,
            teacher=first.teacher,
            teacher_top1=group[0].info.get("teacher_top1"),
            student=first.student,
            epochs=first.schedule.epochs,
            selection="val" if first.data.val_split else "test",
            method=arm_name(first),
            n=len(group),
            best=Statistic.of(list(best.values())),
            best_gain=paired(by_seed(base, "best"), best),
            last=Statistic.of(list(last.values())),
            last_gain=paired(by_seed(base, "last"), last),
            published=published.top1_stand if first.standardized else published.top1,
            seconds=mean(run.info["seconds"] for run in group),
            hardware=_all(f"{run.info['device']}, {run.info['precision']}" for run in group),
            students=_all(str(len(run.info.get("arms_in_pass", [run]))) for run in group),
        )


def _all(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


COLUMNS = (
    Column("Preset", "text", lambda arm: arm.name),
    Column("Method", "text", lambda arm: arm.method),
    Column("n", "number", lambda arm: str(arm.n)),
    Column("Best epoch", "number", lambda arm: statistic(arm.best)),
    Column("Δ", "ours", lambda arm: gain(arm.best_gain)),
    Column("Last epoch", "number", lambda arm: statistic(arm.last)),
    Column("Δ", "number", lambda arm: gain(arm.last_gain)),
    Column("Published", "published", lambda arm: value(arm.published)),
    Column("Time", "number", lambda arm: clock(arm.seconds)),
    Column("Hardware", "text", lambda arm: arm.hardware),
    Column("Students", "number", lambda arm: arm.students),
)


def _needless(arms: Sequence[Arm]) -> set[str]:
    """Columns that tell nothing apart: their values are in the caption, or in another column."""
    needless = set()
    if len({arm.method for arm in arms}) == len(arms):
        needless.add("Preset")
    if len({arm.hardware for arm in arms}) == 1:
        needless.add("Hardware")
    if len({arm.students for arm in arms}) == 1:
        needless.add("Students")
    return needless


def _caption(arms: Sequence[Arm], needless: Set[str]) -> str:
    """What the setting is and what the numbers are; the values of needless columns."""
    taught = arms[-1]
    teacher = ""
    if taught.teacher:
        top1 = taught.teacher_top1
        teacher = f" from {taught.teacher}" + (f" ({top1:.2f} %)" if top1 else "")
    caption = (
        f"{taught.student}{teacher} on {taught.dataset}, {taught.epochs} epochs: "
        f"top-1 test accuracy (%) of the best epoch, chosen on {taught.selection} images, and of "
        "the last; mean ± deviation over n seeds. Δ: +Ours minus the method alone, seed by seed"
        f"{with_interval(arm.best_gain for arm in arms)}. "
        "Published: best epoch. Time (h:mm:ss): of training, all students of a pass together"
    )
    if "Students" in needless:
        caption += f", here {taught.students}"
    if "Hardware" in needless:
        caption += f", on {taught.hardware}"
    return f"{caption}."
