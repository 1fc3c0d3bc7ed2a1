"""What a command trains: its options, its runs, and which of them are trained together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lskd_cli.config import Preset
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.joint_run import JointRun, UnfinishedRun
from lskd_cli.engine.training.loop import CHECKPOINT_INTERVAL
from lskd_cli.errors import RequestError


@dataclass
class TrainingOptions:
    """Folders and options of a command that trains.

    Attributes:
        data_dir: folder of the data sets.
        checkpoints_dir: folder of the teachers.
        runs_dir: folder of the runs.
        teacher_checkpoint: weights of the teacher, a file or a run folder.
        cache_dir: folder of cached teacher logits; None disables the cache.
        skip_bad_images: leave out images that cannot be decoded.
        checkpoint_interval: seconds between two saved states within an epoch.
        loggers: names of the loggers.
    """

    data_dir: Path
    checkpoints_dir: Path
    runs_dir: Path
    teacher_checkpoint: Path | None = None
    cache_dir: Path | None = None
    skip_bad_images: bool = False
    checkpoint_interval: float = CHECKPOINT_INTERVAL
    loggers: Sequence[str] = ()


@dataclass
class TrainingPlan:
    """The runs of a request; iterating over it gives the joint runs to train, in order.

    Attributes:
        joint_runs: unfinished runs, grouped.
        finished: folders of runs that are already finished.
        archived: new paths of runs that ``fresh`` has moved.
    """

    joint_runs: list[JointRun]
    finished: list[RunFolder] = field(default_factory=list)
    archived: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[JointRun]:
        return iter(self.joint_runs)

    def run_paths(self) -> list[str]:
        """Paths of the unfinished runs."""
        return [run.preset.run_path for joint in self.joint_runs for run in joint.runs]


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


def group_joint_runs(runs: Sequence[UnfinishedRun]) -> list[list[UnfinishedRun]]:
    """Group runs with the same data and number of epochs, and at most one teacher.

    In each group, runs with a teacher come first.
    """
    groups: list[list[UnfinishedRun]] = []
    for run in sorted(runs, key=lambda run: run.preset.teacher is None):
        preset = run.preset
        for group in groups:
            first = group[0].preset
            is_same_training = (first.data, first.schedule.epochs) == (
                preset.data,
                preset.schedule.epochs,
            )
            if is_same_training and preset.teacher in (first.teacher, None):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups
