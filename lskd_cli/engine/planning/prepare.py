"""Preparation of a training request: every run is checked before anything is written."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import torch

from lskd_cli.checkpoints import Checkpoint, check_classes, load_checkpoint
from lskd_cli.config import Preset, TrainingOptions
from lskd_cli.data import (
    DataSplits,
    create_loader,
    identify_images_once,
    load_splits,
)
from lskd_cli.distillers import uses_features
from lskd_cli.engine.devices.dist_env import local_rank
from lskd_cli.engine.devices.distributed import ProcessGroup
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.planning.teacher_files import (
    TEACHER_RUNS,
    check_images_of,
    find_teacher,
    load_teacher,
    load_teachers,
)
from lskd_cli.engine.planning.training_plan import (
    TrainingPlan,
    group_joint_runs,
    presets_by_path,
)
from lskd_cli.engine.runs.compatibility import check_resumable, check_same_images
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.dry_run import check_networks
from lskd_cli.engine.training.ensemble import TeacherEnsemble, Teachers
from lskd_cli.engine.training.initial_weights import (
    InitialWeights,
    load_initial_weights,
)
from lskd_cli.engine.training.joint_run import JointRun, PlannedRun, images_digest
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress
from lskd_cli.run_paths import STUDENT

TeacherKey = tuple[object, ...]  # network, data set and preprocessing


@dataclass
class LoadedFiles:
    """Teachers, initial weights and images, which later requests of a process use again."""

    teachers: dict[TeacherKey, Callable[[], Teachers]] = field(default_factory=dict)
    initial: dict[tuple[object, ...], InitialWeights | None] = field(default_factory=dict)
    splits: dict[str, DataSplits] = field(default_factory=dict)


@contextmanager
def prepare(
    presets: Sequence[Preset],
    options: TrainingOptions,
    runtime: Runtime,
    progress: Progress,
    joint: bool = True,
    loaded: LoadedFiles | None = None,
) -> Iterator[TrainingPlan]:
    """Lock the folders of all runs, and load and check everything that their training needs.

    Nothing but locks is written before all runs are checked; then ``options.fresh`` archives
    previous runs. With several processes, the main process does this first, and the others read
    what it has left.

    Args:
        presets: presets of the runs.
        options: folders and other options.
        runtime: device, precision and process group.
        progress: progress of downloads and of the check of images.
        joint: train runs together that share data, number of epochs and teacher.
        loaded: files that earlier requests have loaded; it gets those of this request.

    Raises:
        RequestError: networks, settings, teacher, data or folders do not fit the request; the
            message has a line for each run with a problem.
        RunError: a download failed.
    """
    group = runtime.process_group
    files = loaded or LoadedFiles()
    with ExitStack() as stack:

        def build(options: TrainingOptions) -> TrainingPlan:
            return _PlanBuilder(stack, presets, options, runtime, progress, joint, files).build()

        plan = group.on_main_process(lambda: build(options), is_slow=True)
        others = replace(options, fresh=False)
        # The first process of every other machine is next, so that files are checked once on each.
        if plan is None and local_rank() == 0:
            plan = build(others)
        group.wait_for_all()
        if plan is None:
            plan = build(others)
        _check_processes(plan, group)
        yield plan


def _check_processes(plan: TrainingPlan, group: ProcessGroup) -> None:
    """Check that all processes are about to train the same runs."""
    digest = hashlib.sha256(repr(plan.run_paths()).encode()).digest()
    if not group.all_equal(torch.tensor(list(digest), dtype=torch.uint8)):
        raise RequestError(
            "the processes disagree on the runs; --runs-dir must be a folder that all machines "
            "share"
        )


class _PlanBuilder:
    """Checks every run of a request once, and keeps what it loads for the training."""

    def __init__(
        self,
        stack: ExitStack,
        presets: Sequence[Preset],
        options: TrainingOptions,
        runtime: Runtime,
        progress: Progress,
        joint: bool,
        files: LoadedFiles,
    ) -> None:
        self.stack = stack
        self.presets = presets
        self.options = options
        self.runtime = runtime
        self.progress = progress
        self.joint = joint
        self.teachers, self.initial, self.splits = files.teachers, files.initial, files.splits

    def build(self) -> TrainingPlan:
        check_networks(self.presets)
        by_path = presets_by_path(self.presets, self.options.runs_dir)
        plan = TrainingPlan([])
        unfinished: list[PlannedRun] = []
        problems: list[str] = []
        for path, preset in by_path.items():
            try:
                run = self._check_run(preset, RunFolder(path))
            except RequestError as error:
                problems.append(str(error))
                continue
            if run is None:
                plan.finished.append(RunFolder(path))
            else:
                unfinished.append(run)
        if problems:
            raise RequestError("\n".join(dict.fromkeys(problems)))
        requested = {str(run.preset.data) for run in unfinished}
        for key in self.splits.keys() - requested:
            del self.splits[key]
        for run in unfinished:
            self._load_images(run)
        groups = group_joint_runs(unfinished) if self.joint else [[run] for run in unfinished]
        plan.joint_runs = [self._joint_run(group) for group in groups]
        if self.options.fresh:
            archived = [RunFolder(path).archive() for path in by_path]
            plan.archived = [path for path in archived if path is not None]
        return plan

    def _check_run(self, preset: Preset, folder: RunFolder) -> PlannedRun | None:
        """An unfinished run with its state, or None if it is finished."""
        options = self.options
        if self.runtime.process_group.is_main_process:
            self.stack.enter_context(folder.locked())
        if preset.sync_batchnorm and self.runtime.process_group.world_size > 1:
            _check_sync_batchnorm(preset, self.runtime)
        if options.teacher_cache and (preset.data.augmentation or preset.data.is_mixed):
            raise RequestError(
                "--teacher-cache: supported only without data.augmentation, mixup and cutmix"
            )
        if options.teacher_cache and uses_features(preset):
            raise RequestError(
                f"--teacher-cache: contains logits only, but {preset.name} uses features"
            )
        is_finished = not self.options.fresh and folder.is_finished
        checkpoint: Checkpoint | None = None
        if preset.teacher and (not is_finished or options.teacher_checkpoint):
            teacher = self._check_teacher(preset)
            checkpoint = teacher.checkpoint if teacher else None
        initial = None if is_finished else self._initial_weights(preset)
        state = None
        if not self.options.fresh:
            initial_checkpoint = initial.checkpoint if initial else None
            precision = self.runtime.precision
            check_resumable(folder, preset, precision, checkpoint, initial_checkpoint)
            state = None if is_finished else folder.load_state()
        if is_finished:
            if preset.data.on_disk or preset.data.is_custom:
                _check_finished_run(folder, preset, options.data_dir)
            return None
        return PlannedRun(preset, state, initial)

    def _check_teacher(self, preset: Preset) -> Teachers | None:
        """The teacher or teachers of a run; None if an earlier run of the request trains one."""
        if self.options.fresh and self._is_trained_before(preset):
            return None  # and not the teacher that the request replaces
        create = cache(partial(self._load_teacher, preset))
        load = self.teachers.setdefault(_teacher_key(preset), create)
        try:
            return load()
        except RequestError:
            if self._is_trained_before(preset):
                return None
            raise

    def _load_teacher(self, preset: Preset) -> Teachers:
        options = self.options
        if options.teacher_checkpoint is not None:
            members = load_teachers(preset, options.teacher_checkpoint)
        else:
            members = []
            for one in map(preset.with_teacher, preset.teacher_names):
                folder = options.teacher_runs_dir or options.runs_dir
                checkpoint = find_teacher(one, options.checkpoints_dir, folder)
                members.append(load_teacher(checkpoint, one))
        return members[0] if len(members) == 1 else TeacherEnsemble(members)

    def _initial_weights(self, preset: Preset) -> InitialWeights | None:
        """The weights from which a student starts; loaded once for all runs of a student."""
        key = (preset.init, preset.student, preset.data.class_count, preset.data.image_size)
        if key not in self.initial:
            self.initial[key] = load_initial_weights(preset)
        return self.initial[key]

    def _is_trained_before(self, preset: Preset) -> bool:
        """Whether the request trains the teacher of a preset before the preset itself."""
        if self.joint or self.options.teacher_checkpoint is not None:
            return False
        earlier = self.presets[: list(self.presets).index(preset)]
        return any(
            other.name.startswith(TEACHER_RUNS)
            and other.student in preset.teacher_names
            and other.data.name == preset.data.name
            for other in earlier
        )

    def _load_images(self, run: PlannedRun) -> None:
        data, options = run.preset.data, self.options
        if str(data) not in self.splits:
            splits = load_splits(data, options.data_dir, self.progress, options.skip_bad_images)
            create_loader(splits.train, data, self.runtime.process_group.shard)
            self.splits[str(data)] = splits.to(self.runtime.device)
        splits = self.splits[str(data)]
        if run.initial is not None:
            run.initial = run.initial.for_classes(splits.train.classes)
        if not self.options.fresh:
            folder = RunFolder.of(options.runs_dir, run.preset)
            check_same_images(folder, images_digest(splits))
        if run.preset.teacher and splits.train.classes:
            teacher = self._check_teacher(run.preset)
            for member in teacher.members if teacher is not None else ():
                if options.teacher_checkpoint is None:
                    check_images_of(member.checkpoint, splits.train.identity)
                else:
                    check_classes(member.checkpoint, splits.train.classes)

    def _joint_run(self, runs: list[PlannedRun]) -> JointRun:
        preset = runs[0].preset
        return JointRun(
            runs,
            preset.data,
            preset.schedule.epochs,
            self.options,
            self.runtime,
            self.splits[str(preset.data)],
            self.teachers[_teacher_key(preset)] if preset.teacher else None,
        )


def _check_sync_batchnorm(preset: Preset, runtime: Runtime) -> None:
    if runtime.device.type == "cpu":
        raise RequestError("sync_batchnorm: requires CUDA; leave it out on CPUs")
    if preset.optimizer.grad_accum_steps > 1 and not preset.data.drop_last:
        # Processes would have different numbers of micro-batches in the last step.
        raise RequestError(
            "sync_batchnorm: with optimizer.grad_accum_steps, set data.drop_last=true"
        )


def _teacher_key(preset: Preset) -> TeacherKey:
    data = preset.data
    return (preset.teacher, data.name, data.image_size, *data.mean, *data.std, data.test_crop)


def _check_finished_run(folder: RunFolder, preset: Preset, data_dir: Path) -> None:
    """Check that a finished run has the classes of the images in --data-dir, if there are any."""
    weights = folder.path / STUDENT
    try:
        identity = identify_images_once(preset.data.name, data_dir)
    except RequestError:
        return  # a finished run does not need its images any more
    if weights.exists():
        try:
            check_images_of(load_checkpoint(weights), identity)
        except RequestError as error:
            raise RequestError(f"{error}; keep both runs with --set name=NEW") from None
