"""Grouping of runs: which runs are compared with each other in tables, figures and the report."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lskd_cli.config import (
    Preset,
    Published,
    builtin_methods,
    list_presets,
    load_preset,
    method_title,
)
from lskd_cli.config.differences import find_differences
from lskd_cli.results.runs import Run
from lskd_cli.wording import counted, value_text


@dataclass(frozen=True, order=True)
class ExperimentKey:
    """What identifies the settings of a run, except its name, seed and standardization.

    Attributes:
        data: data settings, and the digest of the files of an image folder.
        student: network of the student, and digest of its initial weights if they are not random.
        negative_epochs: number of epochs (of student passes with an equal budget) times -1, so that
            longer trainings are sorted first.
        teacher: network and digest of the teacher; empty for student baselines and teachers.
        settings: all other settings, and the precision.
    """

    data: str
    student: str
    negative_epochs: int
    teacher: str
    settings: str

    @property
    def training(self) -> tuple[str, str, int]:
        """What a student baseline shares with the distilled students of the same network."""
        return self.data, self.student, self.negative_epochs


def experiment_key(run: Run) -> ExperimentKey:
    """The key of a run; runs with equal keys differ at most in name, seed and standardization."""
    preset, info = run.preset, run.info
    excluded = {"name", "seed", "published", "stand", "teacher", "data", "student", "init"}
    settings = preset.model_dump(mode="json", exclude=excluded)
    return ExperimentKey(
        data=f"{_to_json(preset.data.model_dump(mode='json'))} {info.images_sha256}",
        student=f"{preset.student} {info.init_sha256}" if info.init_sha256 else preset.student,
        negative_epochs=-_budget(preset),
        teacher=f"{preset.teacher} {info.teacher_sha256}" if preset.teacher else "",
        settings=f"{_to_json(settings)} {info.precision}",
    )


def _budget(preset: Preset) -> int:
    return preset.student_passes if preset.has_equal_budget else preset.schedule.epochs


@dataclass
class MethodRuns:
    """Runs of one method with equal settings and different seeds.

    Attributes:
        runs: the runs.
        plain: for standardized runs, the runs with equal settings without standardization.
    """

    runs: list[Run]
    plain: list[Run]

    @property
    def preset(self) -> Preset:
        """Preset of the first run."""
        return self.runs[0].preset

    @property
    def label(self) -> str:
        """Label of the method in tables and figures, for example ``KD+Ours``."""
        return method_label(self.runs[0])


@dataclass
class RunGroup:
    """Runs of one teacher-student pair with the same data and number of epochs.

    Attributes:
        runs: the runs, student baselines first.
        methods: the same runs by method and settings, in the order of tables.
        note: what distinguishes the group from others with the same title.
    """

    runs: list[Run]
    methods: list[MethodRuns]
    note: str = ""

    @property
    def title(self) -> str:
        """Heading of the group."""
        preset = self.runs[-1].preset
        return f"{self.pair}, {preset.data.label}, {self.length}"

    @property
    def has_equal_budget(self) -> bool:
        """Whether methods with several views have fewer epochs, for equal numbers of passes."""
        return any(run.preset.has_equal_budget for run in self.runs)

    @property
    def length(self) -> str:
        """Number of epochs, or of student passes with an equal budget, and the note."""
        if self.has_equal_budget:
            length = f"{_budget(self.runs[-1].preset)} student passes over the training images"
        else:
            length = counted(self.runs[-1].preset.schedule.epochs, "epoch")
        return f"{length}, {self.note}" if self.note else length

    @property
    def pair(self) -> str:
        """Teacher and student, or the student only."""
        preset = self.runs[-1].preset
        return pair_label(preset.teacher, preset.student)

    def finished(self) -> "RunGroup | None":
        """The same group without unfinished runs; None if no run is finished."""
        methods = [MethodRuns(_finished(m.runs), _finished(m.plain)) for m in self.methods]
        runs = _finished(self.runs)
        methods = [method for method in methods if method.runs]
        return replace(self, runs=runs, methods=methods) if runs else None


def _finished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.is_finished]


def pair_label(teacher: str | None, student: str) -> str:
    """Teacher and student, or the student only."""
    return f"{teacher} → {student}" if teacher else student


def group_runs(runs: Sequence[Run]) -> list[RunGroup]:
    """Group runs by teacher-student pair, data and number of epochs.

    Student baselines are part of the groups of all teachers of their network; without any, they
    form groups of their own. Runs with an equal budget are grouped with those that have as many
    epochs as they have passes; nothing is published for such groups. Longer trainings come first.
    """
    keyed = [(experiment_key(run), run) for run in runs]
    equal = {key.training for key, run in keyed if run.preset.has_equal_budget}
    keyed = [(k, _without_published(run) if k.training in equal else run) for k, run in keyed]
    baselines = _collect((key.training, run) for key, run in keyed if not key.teacher)
    distilled = _collect(((*key.training, key.teacher), run) for key, run in keyed if key.teacher)
    groups = [[*baselines.get(key[:3], []), *group] for key, group in distilled.items()]
    paired_baselines = {key[:3] for key in distilled}
    groups += [group for key, group in baselines.items() if key not in paired_baselines]
    return _with_notes([RunGroup(group, _methods(group)) for group in groups])


def _with_notes(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """The groups, those with equal titles with a note of what distinguishes them."""
    by_title: dict[str, list[RunGroup]] = {}
    for group in groups:
        by_title.setdefault(group.title, []).append(group)
    noted = []
    for group in groups:
        others = [other for other in by_title[group.title] if other is not group]
        noted.append(replace(group, note=_note(group, others)) if others else group)
    return noted


def _note(group: RunGroup, others: Sequence[RunGroup]) -> str:
    run = group.runs[-1]
    data = run.preset.data.model_dump()
    differing = {
        key: value
        for other in others
        for key, value, _ in find_differences(data, other.runs[-1].preset.data.model_dump())
    }
    texts = [f"data.{k} {value_text(v)}" for k, v in differing.items() if v is not None]
    digest = run.info.teacher_sha256
    if digest and any(other.runs[-1].info.teacher_sha256 != digest for other in others):
        texts.append(f"teacher {digest[:8]}")
    return ", ".join(texts)


def _without_published(run: Run) -> Run:
    return replace(run, preset=run.preset.model_copy(update={"published": Published()}))


def _methods(runs: Sequence[Run]) -> list[MethodRuns]:
    by_settings: dict[tuple[ExperimentKey, str, str], list[Run]] = {}
    for run in runs:
        key = (experiment_key(run), _standardization(run), run.preset.name)
        by_settings.setdefault(key, []).append(run)
    methods = []
    for (experiment, standardization, name), group in by_settings.items():
        plain: dict[str, list[Run]] = {}
        if standardization:
            plain = {
                key[2]: other
                for key, other in by_settings.items()
                if key[0] == experiment and not key[1]
            }
        methods.append(MethodRuns(group, plain.get(plain_reference(name, plain), [])))
    return sorted(methods, key=lambda method: table_sort_key(method.runs[0]))


def plain_reference(name: str, plain_names: Iterable[str]) -> str:
    """The plain preset with which a standardized one is compared; empty if there is none.

    This is the one of the same name, or the one whose name the other begins with, or the first.
    """
    names = list(plain_names)
    begins = [other for other in names if name == other or name.startswith(f"{other}-")]
    return max(begins, key=len) if begins else next(iter(names), "")


def _standardization(run: Run) -> str:
    """Settings of the standardization; empty for plain runs, on which they have no effect."""
    stand = run.preset.stand
    if not run.preset.standardized or stand is None:
        return ""
    values = stand.overrides().items()
    return _to_json({k: float(v) if isinstance(v, int | float) else v for k, v in values})


def curve_key(run: Run) -> str:
    """What runs have in common that are seeds of one curve."""
    settings = f"{experiment_key(run)} {_standardization(run)}"
    digest = hashlib.sha256(settings.encode(errors="backslashreplace")).hexdigest()[:8]
    return f"{run.preset.run_name} {digest}"


def method_name(run: Run) -> str:
    """Label of the method of a run, for example ``KD``."""
    title = run.info.method_title or method_title(run.preset.method)
    return f"{title}+DOT" if run.preset.optimizer.name == "dot" else title


def method_label(run: Run) -> str:
    """Label of the method of a run with its standardization, for example ``KD+Ours``."""
    return method_name(run) + ("+Ours" if run.preset.standardized else "")


def name_sort_key(name: str) -> list[tuple[str, float]]:
    """Order of names with numbers in them: by value, so that ``weight9`` is before ``weight27``."""
    parts = re.findall(r"(\D*)(\d+(?:\.\d+)?)?", name)
    return [(text, float(number or 0)) for text, number in parts]


def table_sort_key(run: Run) -> tuple[int, str, list[tuple[str, float]], bool, int]:
    """Order of runs in tables: baselines, then methods by year, plain before standardized."""
    preset, methods = run.preset, builtin_methods()
    name = preset.method.name
    if not preset.teacher:
        position = -1
    else:
        position = methods.index(name) if name in methods else len(methods)
    return position, name, name_sort_key(preset.name), preset.standardized, preset.seed


def has_published_settings(run: Run) -> bool:
    """Whether a run was trained with the settings of the published row: recipe, length and method.

    Only then can its accuracy be compared with the published one.
    """
    preset = run.preset
    if preset.name not in list_presets():
        return False
    published = load_preset(preset.name, allow_unknown_method=True)
    excluded: dict[str, Any] = {
        "seed": True, "published": True, "method": True, "stand": True, "data": {"seed"},
    }  # fmt: skip
    if preset.model_dump(exclude=excluded) != published.model_dump(exclude=excluded):
        return False
    if not _contains(preset.method.model_dump(), published.method.model_dump()):
        return False
    if not preset.standardized or preset.stand is None or published.stand is None:
        return True
    return preset.stand.overrides() == published.stand.overrides()


def _contains(values: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether values contain the expected ones; defaults are not listed in a preset file."""
    return all(values.get(key) == value for key, value in expected.items())


def _collect(pairs: Iterable[tuple[Any, Run]]) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for key, run in pairs:
        groups.setdefault(key, []).append(run)
    return dict(sorted(groups.items()))


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
