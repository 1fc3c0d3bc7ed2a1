"""Training of one or more runs that share data, number of epochs and teacher."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import DataSplits
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.runs.run_folder import CORRUPT_STATE, RunFolder
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.initial_weights import InitialWeights
from lskd_cli.engine.training.loop import CHECKPOINT_INTERVAL, StudentRun, train_students
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.teacher_cache import TeacherCache, cache_path
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.errors import Interrupted, RequestError, RunError
from lskd_cli.models import Network
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.run_paths import RESUME


@dataclass
class LoadedTeacher:
    """The weights of a teacher, its network with these weights, and how its images are prepared."""

    checkpoint: Checkpoint
    network: Network
    preprocessing: Preprocessing


@dataclass
class UnfinishedRun:
    """A run to train.

    Attributes:
        preset: preset of the run.
        folder: folder of the run.
        state: saved state to resume from; None starts from the first step.
        initial: weights from which the student starts.
    """

    preset: Preset
    folder: RunFolder
    state: dict[str, Any] | None = None
    initial: InitialWeights | None = None


@dataclass
class JointRun:
    """Unfinished runs that are trained together: same data, number of epochs and teacher.

    Attributes:
        runs: the runs; those with a teacher come first.
        runtime: device, precision and process group.
        splits: images on the device.
        load_teacher: returns the teacher; None if no method needs one.
        cache_dir: folder of cached teacher logits; None disables the cache.
        checkpoint_interval: seconds between two saved states within an epoch.
    """

    runs: list[UnfinishedRun]
    runtime: Runtime
    splits: DataSplits
    load_teacher: Callable[[], LoadedTeacher] | None = None
    cache_dir: Path | None = None
    checkpoint_interval: float = CHECKPOINT_INTERVAL

    @cached_property
    def teacher(self) -> LoadedTeacher | None:
        """The teacher, loaded on first use; None if no method needs one."""
        return self.load_teacher() if self.load_teacher else None

    def create_students(self) -> list[StudentRun]:
        """Create the students in the state in which their runs were saved.

        Raises:
            RequestError: a saved state does not fit, or the teacher is not available.
        """
        network = self.teacher.network if self.teacher else None
        students = []
        for run in self.runs:
            targets = self.splits.train.targets
            student = StudentTrainer(run.preset, self.runtime, network, targets, run.initial)
            if self.runtime.process_group.is_main_process:
                run.folder.remove_stale_files()
            if run.state is not None:
                try:
                    student.load_state_dict(run.state)
                # A state of another structure can raise any exception.
                except Exception as error:
                    path = run.folder.path / RESUME
                    raise RequestError(f"{path}: {CORRUPT_STATE}") from error
            students.append(StudentRun(student, run.folder))
        return students

    def train(
        self,
        students: Sequence[StudentRun],
        callback: Callback,
        command: str,
        should_stop: Callable[[], bool],
    ) -> None:
        """Train to the last epoch; the run.json of every run describes how the training ended.

        Args:
            students: from ``create_students``.
            callback: called after steps and epochs.
            command: command line, for run.json.
            should_stop: called after every launch of steps; True saves all students and stops.

        Raises:
            RequestError: the processes do not see the same files.
            Interrupted: ``should_stop`` returned True; every state is saved.
            RunError: a loss was not finite, memory or disk were full, or another process failed;
                the last saved state is kept.
        """
        group = self.runtime.process_group
        self._check_processes(students)
        try:
            for run in students:
                details = self._details(run.student, students, command)
                group.on_main_process(partial(run.folder.start, run.student.preset, details))
            with self.runtime.precision_context():
                teacher = self._frozen_teacher(students)
                train_students(
                    students,
                    teacher,
                    self._cache(teacher),
                    self.splits,
                    callback,
                    should_stop,
                    self.checkpoint_interval,
                )
        except Interrupted:
            self._set_state("interrupted")
            raise
        except Exception as error:
            self._fail(error)
        for run in students:
            group.on_main_process(partial(run.folder.finish, run.student))

    def _fail(self, error: Exception) -> NoReturn:
        """Write the cause of an error to run.json, and raise an error that describes it."""
        failure = self.runtime.process_group.failure
        cause = failure.cause(error) if failure else str(error)
        self._set_state("failed", error=cause)
        if isinstance(error, torch.OutOfMemoryError):
            raise RunError(
                f"{self.runtime.device}: out of memory; train fewer presets or seeds at a time, or "
                "use --set data.batch_size=LOWER"
            ) from error
        if failure and isinstance(error, RuntimeError):
            raise RunError(
                f"{cause}; the last saved state is kept, and the same command resumes the run"
            ) from error
        raise error

    def _check_processes(self, students: Sequence[StudentRun]) -> None:
        """Check that all processes resume from the same states with the same images."""
        group = self.runtime.process_group
        if not group.all_equal(torch.tensor([run.student.position for run in students])):
            raise RequestError(
                f"{self.runs[0].folder.path}: the processes read different states; --runs-dir must "
                "be a folder that all machines share"
            )
        teacher = self.teacher
        if teacher and not group.all_equal(_digest_tensor(teacher.checkpoint.sha256)):
            raise RequestError(
                f"{teacher.checkpoint.path}: the processes read different teachers; "
                "--checkpoints-dir must be a folder that all machines share"
            )
        if not group.all_equal(_digest_tensor(images_digest(self.splits) or "")):
            raise RequestError("--data-dir: the processes find different files in it")

    def _details(
        self, student: StudentTrainer, students: Sequence[StudentRun], command: str
    ) -> dict[str, Any]:
        """Entries of run.json that describe how a run is trained."""
        details: dict[str, Any] = {
            "command": command,
            "device": _device_name(self.runtime),
            "precision": self.runtime.precision,
            "graphs": self.runtime.graphs,
            "compiled": self.runtime.compiled,
            "processes": self.runtime.process_group.world_size,
            "images_sha256": images_digest(self.splits),
            "arms_in_pass": [run.student.preset.run_path for run in students],
            "added_parameters": student.added_parameters,
        }
        if student.initial is not None:
            initial = student.initial.checkpoint
            details |= {"init": str(initial.path), "init_sha256": initial.sha256}
        if self.teacher and student.preset.teacher:
            checkpoint = self.teacher.checkpoint
            details |= {
                "teacher": str(checkpoint.path),
                "teacher_sha256": checkpoint.sha256,
                "teacher_top1": checkpoint.top1,
                "teacher_cache": self.cache_dir is not None,
            }
        return details

    def _frozen_teacher(self, students: Sequence[StudentRun]) -> Teacher | None:
        if self.teacher is None:
            return None
        required = {field for run in students for field in run.student.distiller.required_features}
        data, preprocessing = self.runs[0].preset.data, self.teacher.preprocessing
        adapt = ViewAdapter.between(data, preprocessing, self.runtime.device)
        return Teacher(self.teacher.network, self.runtime, required, adapt)

    def _cache(self, teacher: Teacher | None) -> TeacherCache | None:
        if self.cache_dir is None or self.teacher is None or teacher is None:
            return None
        preset = self.runs[0].preset
        path = cache_path(
            self.cache_dir,
            self.teacher.checkpoint,
            self.teacher.preprocessing,
            preset,
            self.runtime,
            images_digest(self.splits),
        )
        return TeacherCache(path, teacher, preset, len(self.splits.train))

    def _set_state(self, state: str, **details: str) -> None:
        for run in self.runs if self.runtime.process_group.is_main_process else ():
            # On a full disk this write fails too; the first error is the one to report.
            with suppress(RunError):
                run.folder.update(state=state, **details)


def images_digest(splits: DataSplits) -> str | None:
    """Digest of custom training images, which must not change between starts."""
    return splits.train.digest


def _digest_tensor(digest: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)


def _device_name(runtime: Runtime) -> str:
    if runtime.device.type == "cuda":
        name = torch.cuda.get_device_name(runtime.device)
    else:
        name = f"cpu ({torch.get_num_threads()} threads)"
    world_size = runtime.process_group.world_size
    return name if world_size == 1 else f"{world_size} x {name}"
