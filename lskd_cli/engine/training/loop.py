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
from functools import partial

from lskd_cli.data import create_loader
from lskd_cli.engine.devices.cuda_graphs import create_runner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.inference.evaluation import evaluate
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.joint_run import JointRun
from lskd_cli.engine.training.joint_step import (
    create_joint_step,
    student_views,
    teacher_views,
    without_unsafe_graphs,
)
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.errors import DivergenceError, Interrupted

_SAVE_RATIO = 10  # of the time between two saved states to the time that saving takes


def train_epochs(
    joint_run: JointRun,
    students: Sequence[StudentTrainer],
    callbacks: Sequence[Callback],
    should_stop: Callable[[], bool],
) -> None:
    """Train students to their last epoch.

    Args:
        joint_run: data, teacher, device and folders.
        students: the students, at any position.
        callbacks: called after steps and epochs.
        should_stop: called after every launch of steps; True saves all students and stops.

    Raises:
        Interrupted: ``should_stop`` returned True; every state is saved.
        RunError: a loss was not finite, or a file could not be written; the last saved state is
            kept.
    """

    def warn(message: str) -> None:
        for callback in callbacks:
            callback.on_warning(message)

    runtime, group = joint_run.runtime, joint_run.group
    is_cpu = runtime.device.type == "cpu"
    teacher = joint_run.create_teacher(students)
    loader = create_loader(joint_run.splits.train, joint_run.data, group.shard)
    cache = joint_run.open_teacher_cache(teacher, loader)
    runner = create_runner(without_unsafe_graphs(runtime, students, warn), warn)
    steps_per_launch = runner.steps_per_launch if loader.supports_several_steps else 1
    if runtime.compiled:
        _compile(joint_run, students, teacher, steps_per_launch, warn)
    while unfinished := [student for student in students if not student.is_finished]:
        epoch, step = min(student.position for student in unfinished)
        present = [student for student in unfinished if student.position[0] == epoch]
        for student in present:
            student.start_epoch()
        loader.start_epoch(epoch, student_views(present), step)
        for callback in callbacks:
            callback.on_epoch_start(epoch, step, loader.num_steps)
        timer = _Timer(runtime)
        if cache is not None and "weak" in teacher_views(present):
            cache.start_epoch()
        while step < loader.num_steps:
            present = [student for student in present if not student.has_left]
            if not present:
                break
            due = [student for student in present if student.position[1] == step]
            end = _launch_end(step, present, steps_per_launch, loader.num_steps)
            with timer.waiting_for_data():
                spec = loader.batch_spec(step, end - step)
            if cache is not None and "weak" in teacher_views(due):
                spec.weak_logits = cache(step, end - step)
            if due:
                runner.run(create_joint_step(loader, teacher, due), spec)
            for student in due:
                student.advance_step(end - step)
            num_images = loader.count(step, end)
            step = end
            is_bad = is_cpu and any(student.meters.has_bad_step() for student in due)
            is_stopped, is_checkpoint_due, is_bad = group.any_rank(
                should_stop(),
                timer.is_save_due(60 * joint_run.options.checkpoint_minutes),
                is_bad,
            )
            if is_bad:
                _check_each(present, _check_losses, callbacks)
            for callback in callbacks:
                callback.on_steps_end(num_images, partial(_means, present) if is_cpu else None)
            if is_stopped or is_checkpoint_due:
                _save_states(joint_run, present, callbacks, timer)
            if is_stopped:
                raise Interrupted(f"stopped at epoch {epoch}, step {end} of {loader.num_steps}")
        # The evaluation of many images takes minutes, in which a kill would lose these steps.
        (is_long,) = group.any_rank(
            timer.is_save_due(max(15 * joint_run.options.checkpoint_minutes, 1.0))
        )
        if is_long:
            _save_states(joint_run, present, callbacks, timer)
        timer.charge(present)
        finish = partial(_finish_epoch, joint_run, loader.epoch_size, callbacks)
        _check_each(present, finish, callbacks)
        for callback in callbacks:
            callback.on_joint_epoch_end([student for student in present if not student.has_left])


def _compile(
    joint_run: JointRun,
    students: Sequence[StudentTrainer],
    teacher: Teacher | None,
    steps_per_launch: int,
    warn: Warn,
) -> None:
    for student in students:
        student.compile(warn)
    if teacher is not None:
        shard_size = joint_run.group.shard.size(joint_run.data.batch_size)
        teacher.compile(steps_per_launch * shard_size, warn)


def _launch_end(
    step: int, students: Sequence[StudentTrainer], steps_per_launch: int, num_steps: int
) -> int:
    """First step after a launch: at fixed steps, or where another student joins."""
    joins = [student.position[1] for student in students if student.position[1] > step]
    return min((step // steps_per_launch + 1) * steps_per_launch, num_steps, *joins)


class _Timer:
    """Training time since it was last charged to students, and the part spent waiting for data."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.start = self.saved = time.monotonic()
        self.data_wait_seconds = self.save_seconds = 0.0

    def is_save_due(self, interval: float) -> bool:
        """Whether states were not saved for an interval, and saving them takes little of it."""
        seconds = time.monotonic() - self.saved
        return interval == 0 or seconds > max(interval, _SAVE_RATIO * self.save_seconds)

    @contextmanager
    def saving(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self.saved = time.monotonic()
        self.save_seconds = self.saved - before

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self.data_wait_seconds += time.monotonic() - before

    def charge(self, students: Iterable[StudentTrainer]) -> None:
        """Add the time of finished work to the current epoch of each student, and restart."""
        self.runtime.synchronize()
        seconds = time.monotonic() - self.start
        for student in students:
            student.seconds += seconds
            student.data_wait_seconds += self.data_wait_seconds
        self.start, self.data_wait_seconds = time.monotonic(), 0.0


def _check_each(
    students: Iterable[StudentTrainer],
    check: Callable[[StudentTrainer], None],
    callbacks: Sequence[Callback],
) -> None:
    """Call a function that checks a student; one that diverged leaves if a callback agrees.

    Raises:
        DivergenceError: a student diverged, and no callback agreed.
    """
    for student in students:
        if student.has_left:
            continue
        try:
            check(student)
        except DivergenceError as error:
            if not any(callback.on_divergence(student, error) for callback in callbacks):
                raise
            student.has_left = True


def _finish_epoch(
    joint_run: JointRun, num_images: int, callbacks: Sequence[Callback], student: StudentTrainer
) -> None:
    """Evaluate a student, and save the results of its epoch."""
    group, splits = joint_run.group, joint_run.splits
    _check_finite(student)
    metrics = student.meters.means()
    for network in student.networks().values():
        group.broadcast_buffers(network)
    for name, images in joint_run.eval_splits.items():
        for prefix, network in student.networks().items():
            values = evaluate(network, images, student.preprocessing, group)
            if not math.isfinite(values["loss"]):
                raise DivergenceError(
                    f"{student.preset.run_path}: logits not finite after epoch "
                    f"{student.position[0]}"
                )
            metrics |= {f"{prefix}{name}_{key}": value for key, value in values.items()}
    result = student.finish_epoch(metrics, num_images, splits.train.identity)
    folder = joint_run.folder(student.preset)
    group.on_main_process(partial(folder.save_epoch, result))
    for callback in callbacks:
        callback.on_epoch_end(student)


def _save_states(
    joint_run: JointRun,
    students: Sequence[StudentTrainer],
    callbacks: Sequence[Callback],
    timer: _Timer,
) -> None:
    """Save the states of students that have not left, if their weights are finite."""
    timer.charge(students)
    _check_each(students, _check_finite, callbacks)
    with timer.saving():
        for student in students:
            if not student.has_left:
                folder, state = joint_run.folder(student.preset), student.state_dict()
                joint_run.group.on_main_process(partial(folder.save_state, state))


def _check_finite(student: StudentTrainer) -> None:
    """Check losses and weights before a state replaces a good one."""
    _check_losses(student)
    student.check_finite()


def _check_losses(student: StudentTrainer) -> None:
    student.meters.check_finite(student.preset.run_path, student.position[0])


def _means(students: Iterable[StudentTrainer]) -> dict[str, dict[str, float]]:
    """Running metrics of this process, by the paths of the runs."""
    return {student.preset.run_path: student.meters.local_means() for student in students}
