"""One or more runs that are trained together: same data, number of epochs and teacher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from torch import Tensor

from lskd_cli.config import Data, Preset, TrainingOptions
from lskd_cli.data import CropLoader, DataSplits, Images, InMemoryImages, Loader
from lskd_cli.engine.devices.distributed import ProcessGroup
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.class_outputs import class_outputs
from lskd_cli.engine.runs.run_folder import CORRUPT_STATE, RunFolder
from lskd_cli.engine.training.ensemble import EnsembleNetwork, Teachers
from lskd_cli.engine.training.initial_weights import InitialWeights
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.teacher_cache import TeacherCache, cache_path
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.errors import RequestError
from lskd_cli.run_paths import RESUME


@dataclass
class PlannedRun:
    """A run that is not finished.

    Attributes:
        preset: preset of the run.
        state: saved state to resume from; None starts from the first step.
        initial: weights from which the student starts.
    """

    preset: Preset
    state: dict[str, Any] | None = None
    initial: InitialWeights | None = None


@dataclass
class JointRun:
    """Runs that are trained together, and everything that they share.

    Attributes:
        runs: the runs; those with a teacher come first.
        data: data settings of all runs.
        epochs: number of epochs of all runs.
        options: folders and other options.
        runtime: device, precision and process group.
        splits: images on the device.
        load_teacher: returns the teacher; None if no method needs one.
        evaluates_test: whether students are evaluated on the test images; otherwise only on the
            validation images.
    """

    runs: list[PlannedRun]
    data: Data
    epochs: int
    options: TrainingOptions
    runtime: Runtime
    splits: DataSplits
    load_teacher: Callable[[], Teachers] | None = None
    evaluates_test: bool = True

    @property
    def group(self) -> ProcessGroup:
        """The processes that train the runs."""
        return self.runtime.process_group

    @property
    def eval_splits(self) -> dict[str, Images]:
        """The images on which students are evaluated after each epoch, by name."""
        splits = {"test": self.splits.test} if self.evaluates_test else {}
        return splits | ({"val": self.splits.val} if self.splits.val else {})

    @cached_property
    def teacher(self) -> Teachers | None:
        """The teacher or teachers, loaded on first use; None if no method needs one."""
        return self.load_teacher() if self.load_teacher else None

    def folder(self, preset: Preset) -> RunFolder:
        """The folder of a run."""
        return RunFolder.of(self.options.runs_dir, preset)

    def create_students(self) -> list[StudentTrainer]:
        """Create the students in the state in which their runs were saved.

        Raises:
            RequestError: a saved state does not fit, or the teacher is not available.
        """
        network = self.teacher.members[0].network if self.teacher else None
        targets = self.splits.train.targets
        students = []
        outputs = cache(self._class_outputs)
        for run in self.runs:
            # What a method computes from them is part of a saved state.
            needed = outputs if run.state is None else None
            student = StudentTrainer(
                run.preset, self.runtime, network, targets, run.initial, needed
            )
            folder = self.folder(run.preset)
            if self.group.is_main_process:
                folder.remove_stale_files()
            if run.state is not None:
                try:
                    student.load_state_dict(run.state)
                # A state of another structure can raise any exception.
                except Exception as error:
                    raise RequestError(f"{folder.path / RESUME}: {CORRUPT_STATE}") from error
            students.append(student)
        return students

    def _class_outputs(self) -> Tensor:
        assert self.teacher is not None
        images = self.splits.train
        assert isinstance(images, InMemoryImages)  # see WKDConfig
        return class_outputs(self.teacher.members[0], images, self.data.class_count, self.runtime)

    def create_teacher(self, students: Sequence[StudentTrainer]) -> Teacher | None:
        """The frozen teacher with the features that the students' methods use."""
        if self.teacher is None:
            return None
        members = self.teacher.members
        required = {field for student in students for field in student.distiller.required_features}
        networks = [member.network for member in members]
        adapters = [
            ViewAdapter.between(self.data, member.preprocessing, self.runtime.device)
            for member in members
        ]
        if len(members) == 1:
            return Teacher(networks[0], self.runtime, required, adapters[0])
        return Teacher(EnsembleNetwork(networks, adapters, self.data.image_size), self.runtime)

    def open_teacher_cache(self, teacher: Teacher | None, loader: Loader) -> TeacherCache | None:
        """The cache of the teacher's logits for weak views; None if it is not requested."""
        if not self.options.teacher_cache or self.teacher is None or teacher is None:
            return None
        assert isinstance(loader, CropLoader)
        path = cache_path(
            self.options.checkpoints_dir / "logits",
            self.teacher.members,
            self.data,
            self.runtime.precision,
            images_digest(self.splits),
        )
        return TeacherCache(path, teacher, loader, len(self.teacher.members))


def images_digest(splits: DataSplits) -> str | None:
    """Digest of custom training images, which must not change between starts."""
    return splits.train.digest
