"""What a command trains: its runs, and which of them are trained together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lskd_cli.config import Preset
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.joint_run import JointRun, PlannedRun
from lskd_cli.errors import RequestError


@dataclass
class TrainingPlan:
    """The runs of a request.

    Attributes:
        joint_runs: unfinished runs, grouped, in the order of their training.
        finished: folders of runs that are already finished.
        archived: new paths of runs that ``fresh`` has moved.
    """

    joint_runs: list[JointRun]
    finished: list[RunFolder] = field(default_factory=list)
    archived: list[Path] = field(default_factory=list)

    def run_paths(self) -> list[str]:
        """Paths of the unfinished runs."""
        return [run.preset.run_path for joint in self.joint_runs for run in joint.runs]

    def notes(self) -> list[str]:
        """Lines about images that are left out, each once."""
        lines = (line for joint in self.joint_runs for line in joint.splits.notes)
        return list(dict.fromkeys(lines))


def presets_by_path(presets: Sequence[Preset], runs_dir: Path) -> dict[Path, Preset]:
    """Presets by the folders of their runs; the same preset given twice is one run.

    Raises:
        RequestError: two different presets have the same folder.
    """
    by_path: dict[Path, Preset] = {}
    for preset in presets:
        path = RunFolder.of(runs_dir, preset).path
        if by_path.setdefault(path, preset) != preset:
            raise RequestError(
                f"{path}: requested twice with different settings; give one preset another name"
            )
    return by_path


def group_joint_runs(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Group runs with the same data and number of epochs, and at most one teacher.

    In each group, runs with a teacher come first.
    """
    groups: list[list[PlannedRun]] = []
    for run in sorted(runs, key=lambda run: run.preset.teacher is None):
        preset = run.preset
        for group in groups:
            first = group[0].preset
            shared = (preset.data, preset.schedule.epochs)
            is_same_training = (first.data, first.schedule.epochs) == shared
            if is_same_training and preset.teacher in (first.teacher, None):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups
