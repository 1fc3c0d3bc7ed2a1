"""Base class of the rows of all tables of results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lskd_cli.config import data_label
from lskd_cli.results.grouping import has_published_settings
from lskd_cli.results.runs import Run


@dataclass(kw_only=True)
class ResultRow:
    """The training that the numbers of a row come from.

    Attributes:
        name: name of the preset.
        dataset: data set.
        limit_train: number of training images, if it is limited.
        teacher: network of the teacher, if there is one.
        teacher_top1: accuracy in the metadata of the teacher's weights, percent.
        student: network of the student.
        epochs: number of epochs.
        selection: images that the best epoch is selected on, "test" or "val".
        precision: fp32, tf32 or bf16.
        published_settings: whether the runs have the settings of the published row.
    """

    name: str
    dataset: str
    limit_train: int | None
    teacher: str | None
    teacher_top1: float | None
    student: str
    epochs: int
    selection: str
    precision: str | None
    published_settings: bool

    @property
    def data_label(self) -> str:
        """Data set, with the number of training images if it is limited."""
        return data_label(self.dataset, self.limit_train)

    @property
    def has_published(self) -> bool:
        """Whether there is a published value."""
        published = {name for name in vars(self) if name.startswith("published")}
        return any(getattr(self, name) is not None for name in published - {"published_settings"})


def training_fields(runs: Sequence[Run]) -> dict[str, Any]:
    """The fields of ``ResultRow``; distilled runs take precedence over student baselines."""
    distilled = [run for run in runs if run.preset.teacher]
    first = (distilled or runs)[0]
    top1 = [run.info.teacher_top1 for run in distilled if run.info.teacher_top1 is not None]
    preset = first.preset
    return {
        "name": preset.name,
        "dataset": preset.data.name,
        "limit_train": preset.data.limit_train,
        "teacher": preset.teacher,
        "teacher_top1": top1[0] if top1 else None,
        "student": preset.student,
        "epochs": preset.schedule.epochs,
        "selection": "val" if preset.data.val_split else "test",
        "precision": first.info.precision,
        "published_settings": all(has_published_settings(run) for run in runs),
    }


def hardware_note(pairs: Iterable[tuple[Sequence[Run], Sequence[Run]]]) -> str:
    """Sentence of a caption that names presets whose paired runs used different hardware."""
    differing = {}
    for plain, standardized in pairs:
        devices = [sorted({run.info.device for run in runs}) for runs in (plain, standardized)]
        if plain and standardized and devices[0] != devices[1]:
            name = standardized[0].preset.name
            differing[name] = f"{name} ({', '.join(devices[0])} and {', '.join(devices[1])})"
    if not differing:
        return ""
    return f" Different hardware of plain and +Ours: {'; '.join(differing.values())}."
