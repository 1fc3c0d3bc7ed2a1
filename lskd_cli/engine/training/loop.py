"""The training loop: any number of students on the same batches and teacher outputs.

The loop knows no method. Every batch is made once and seen by the teacher once; then every student
that is due at this step takes it. Students of an interrupted run may have different positions:
those that are ahead wait for the others. Nothing is read from the device within an epoch, except on
a CPU.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from lskd_cli.config import View
from lskd_cli.data import (
    Batch,
    BatchSpec,
    DataSplits,
    Loader,
    create_loader,
    derive_seed,
)
from lskd_cli.engine.devices.cuda_graphs import StepRunner, create_runner, seed_generators
from lskd_cli.engine.devices.graph_check import StepState
from lskd_cli.engine.inference.evaluation import evaluate
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.student_trainer import DROP_PATH_STREAM, StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.teacher_cache import TeacherCache
from lskd_cli.engine.training.training_step import shared_step, student_views, teacher_views
from lskd_cli.errors import Interrupted, RunError
from lskd_cli.models import Output

CHECKPOINT_INTERVAL = 120.0  # seconds


@dataclass
class StudentRun:
    """A student in training and the folder of its run."""

    student: StudentTrainer
    folder: RunFolder


def train_students(
    runs: Sequence[StudentRun],
    teacher: Teacher | None,
    cache: TeacherCache | None,
    splits: DataSplits,
    callback: Callback,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_interval: float = CHECKPOINT_INTERVAL,
) -> None:
    """Train students with the same data and number of epochs to their last epoch.

    Args:
        runs: the students with their folders.
        teacher: None if no method needs one.
        cache: cached logits of the teacher for weak views.
        splits: images on the device of the students.
        callback: called after steps and epochs.
        should_stop: called after every launch of steps; True saves all students and stops.
        checkpoint_interval: seconds between two saved states within an epoch.

    Raises:
        Interrupted: ``should_stop`` returned True; every state is saved.
        RunError: a loss was not finite, or a file could not be written; the last saved state is
            kept.
    """
    students = [run.student for run in runs]
    preset, runtime = students[0].preset, students[0].runtime
    group, is_cpu = runtime.process_group, runtime.device.type == "cpu"
    loader = create_loader(splits.train, preset.data, group.shard)
    runner = _create_runner(students, callback)
    steps_per_launch = runner.steps_per_launch if loader.supports_several_steps else 1
    if runtime.compiled:
        _compile(students, teacher, steps_per_launch, callback)
    while unfinished := [run for run in runs if not run.student.is_finished]:
        epoch, step = min(run.student.position for run in unfinished)
        present = [run for run in unfinished if run.student.position[0] == epoch]
        present_students = [run.student for run in present]
        for student in present_students:
            student.start_epoch()
        loader.start_epoch(epoch, student_views(present_students), step)
        callback.on_epoch_start(epoch, step, loader.num_steps)
        timer = _Timer()
        while step < loader.num_steps:
            due = [student for student in present_students if student.position[1] == step]
            end = _launch_end(step, present_students, steps_per_launch, loader.num_steps)
            with timer.waiting_for_data():
                spec = loader.batch_spec(step, end - step)
            if cache is not None and "weak" in teacher_views(due):
                spec.weak_logits = cache(loader, spec)
            seeds = (student.preset.seed for student in due)
            key = (DROP_PATH_STREAM, epoch, step, preset.data.seed, *seeds, group.rank)
            seed_generators(derive_seed(*key))
            launch(runner, loader, teacher, due, spec)
            for student in due:
                student.advance_step(end - step)
            num_images = loader.count(step, end)
            step = end
            is_bad = is_cpu and any(student.meters.has_bad_step() for student in due)
            is_stopped, is_checkpoint_due, is_bad = group.any_rank(
                should_stop(), timer.seconds() > checkpoint_interval, is_bad
            )
            if is_bad:
                _check_losses(present_students)
            running_metrics = partial(_running_metrics, present_students) if is_cpu else None
            callback.on_steps_end(num_images, running_metrics)
            if is_stopped or is_checkpoint_due:
                _save_states(present, timer)
            if is_stopped:
                raise Interrupted(f"stopped at epoch {epoch}, step {end} of {loader.num_steps}")
        timer.charge(present_students)
        for run in present:
            _finish_epoch(run, splits, loader.epoch_size)
            callback.on_epoch_end(run.student)


def _create_runner(students: Sequence[StudentTrainer], callback: Callback) -> StepRunner:
    runtime = students[0].runtime
    unsafe = [s.preset.method.name for s in students if not s.distiller.cuda_graph_safe]
    if runtime.graphs and unsafe:
        callback.on_warning(f"--graphs: method {unsafe[0]} does not support CUDA graphs; disabled")
        runtime = replace(runtime, graphs=False)
    return create_runner(runtime, callback.on_warning)


def _compile(
    students: Sequence[StudentTrainer],
    teacher: Teacher | None,
    steps_per_launch: int,
    callback: Callback,
) -> None:
    for student in students:
        student.compile(callback.on_warning)
    if teacher is not None:
        preset, group = students[0].preset, students[0].runtime.process_group
        size = steps_per_launch * group.shard.size(preset.data.batch_size)
        teacher.compile(size, callback.on_warning)


def launch(
    runner: StepRunner,
    loader: Loader,
    teacher: Teacher | None,
    students: Sequence[StudentTrainer],
    spec: BatchSpec,
) -> None:
    """Run the steps of a specification for students that are due at them."""
    runner.run(
        tuple(student.preset.run_path for student in students),
        spec,
        partial(shared_step, loader, teacher, teacher_views(students)),
        [partial(_train_steps, student) for student in students],
        partial(_step_state, students),
    )


def _step_state(students: Sequence[StudentTrainer]) -> StepState | None:
    if any(student.is_stochastic for student in students):
        return None
    return sum((student.step_state() for student in students), StepState([], []))


def _train_steps(student: StudentTrainer, shared: tuple[Batch, dict[View, Output]]) -> None:
    batch, teacher_outputs = shared
    student.train_steps(batch, teacher_outputs)


def _launch_end(
    step: int, students: Sequence[StudentTrainer], steps_per_launch: int, num_steps: int
) -> int:
    """First step after a launch: at fixed steps, or where another student joins."""
    joins = [student.position[1] for student in students if student.position[1] > step]
    return min((step // steps_per_launch + 1) * steps_per_launch, num_steps, *joins)


class _Timer:
    """Training time since it was last charged to students, and the part spent waiting for data."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.data_wait_seconds = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self.start

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self.data_wait_seconds += time.monotonic() - before

    def charge(self, students: Iterable[StudentTrainer]) -> None:
        """Add the time to the current epoch of each student, and restart."""
        seconds = self.seconds()
        for student in students:
            student.seconds += seconds
            student.data_wait_seconds += self.data_wait_seconds
        self.start, self.data_wait_seconds = time.monotonic(), 0.0


def _finish_epoch(run: StudentRun, splits: DataSplits, num_images: int) -> None:
    student = run.student
    group, preset = student.runtime.process_group, student.preset
    _check_finite([student])
    metrics = student.meters.means(group)
    for network in student.networks().values():
        group.broadcast_buffers(network)
    eval_splits = {"test": splits.test} | ({"val": splits.val} if splits.val else {})
    for name, images in eval_splits.items():
        for prefix, network in student.networks().items():
            values = evaluate(network, images, student.preprocessing, group)
            if not math.isfinite(values["loss"]):
                raise RunError(
                    f"{preset.run_name}: logits not finite after epoch {student.position[0]}; the "
                    "last saved state is kept"
                )
            metrics |= {f"{prefix}{name}_{key}": value for key, value in values.items()}
    is_best = student.finish_epoch(metrics, num_images)
    state = student.state_dict()
    identity = splits.train.identity
    group.on_main_process(lambda: run.folder.save_epoch(student, state, is_best, identity))


def _save_states(runs: Sequence[StudentRun], timer: _Timer) -> None:
    timer.charge(run.student for run in runs)
    _check_finite([run.student for run in runs])
    for run in runs:
        state = run.student.state_dict()
        group = run.student.runtime.process_group
        group.on_main_process(partial(run.folder.save_state, state))


def _check_finite(students: Sequence[StudentTrainer]) -> None:
    """Check losses and weights before a state replaces a good one."""
    _check_losses(students)
    for student in students:
        student.check_finite()


def _check_losses(students: Iterable[StudentTrainer]) -> None:
    for student in students:
        group = student.runtime.process_group
        student.meters.check_finite(student.preset.run_path, student.position[0], group)


def _running_metrics(students: Iterable[StudentTrainer]) -> dict[str, dict[str, float]]:
    return {student.preset.run_path: student.meters.means() for student in students}
