"""The training loop: one pass over the data for any number of arms.

The loop knows no method. Each batch is cut once, seen by the teacher once, and learnt from by
every arm whose place in the schedule it is; arms of an interrupted pass may stand at different
places, and wait until the pass comes by. Between two looks at the results nothing is read from the
device.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from lskd_cli.data import Dataset, FolderSet, create_loader, seed_of
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.evaluation import measured
from lskd_cli.engine.replay import execution
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.step import KNOWN, NOISE, take_steps, teacher_views, union
from lskd_cli.engine.teacher import Teacher
from lskd_cli.engine.teacher_cache import TeacherCache
from lskd_cli.errors import Interrupted, RunError

SAVE_EVERY = 120.0  # seconds


class Listener:
    """Told what happens; what it does with it (a screen, a log) is its own business."""

    def epoch_begins(self, epoch: int, step: int, steps: int) -> None:
        """Epoch (from 1) of ``steps`` steps, of which ``step`` are done already."""

    def steps_done(
        self, images: int, peek: Callable[[], dict[str, dict[str, float]]] | None
    ) -> None:
        """One or more steps, of so many images.

        ``peek`` reads the means so far of every arm in this epoch, by the paths of the runs; it
        is None where reading would hold up the device.
        """

    def notice(self, message: str) -> None:
        """Something that the user should know, said once."""

    def epoch_done(self, arm: Arm) -> None:
        """An arm's record of the epoch is its last in ``arm.history``."""


def run_pass(
    arms: Sequence[tuple[Arm, RunFolder]],
    teacher: Teacher | None,
    cache: TeacherCache | None,
    dataset: Dataset,
    listener: Listener,
    stopping: Callable[[], bool] = lambda: False,
    save_every: float = SAVE_EVERY,
) -> None:
    """Train arms that share data and number of epochs to their end.

    Args:
        arms: each with the folder that keeps it.
        teacher: where an arm's method needs one.
        cache: of the teacher's logits of the weak view.
        dataset: on the arms' device.
        listener: told of steps and epochs.
        stopping: asked after every step, or few; True saves all arms and ends the pass.
        save_every: seconds between two saved states within an epoch: what a kill can cost.

    Raises:
        Interrupted: ``stopping`` said so; every state is saved.
        RunError: a loss was not finite, or a file could not be written. What was saved last stays.
    """
    preset, compute = arms[0][0].preset, arms[0][0].compute
    team = compute.team
    loader = create_loader(dataset.train, preset.data, team.share)
    unrecordable = [arm.preset.method.name for arm, _ in arms if not arm.distiller.recordable]
    if compute.graphs and unrecordable:
        listener.notice(f"--graphs: steps of {unrecordable[0]} cannot be recorded; without")
    graphs = compute.graphs and not unrecordable
    execute = execution(replace(compute, graphs=graphs), listener.notice)
    ahead = execute.ahead if loader.at_once else 1
    if compute.compiled:
        for arm, _ in arms:
            arm.compile(listener.notice)
        if teacher is not None:
            size = ahead * team.share.size(preset.data.batch_size)
            teacher.compile(size, listener.notice)
    while waiting := [pair for pair in arms if pair[0].position[0] <= preset.schedule.epochs]:
        epoch, start = min(arm.position for arm, _ in waiting)
        present = [pair for pair in waiting if pair[0].position[0] == epoch]
        for arm, _ in present:
            arm.begin_epoch()
        views = union(arm.distiller.views for arm, _ in present)
        draw = loader.epoch(epoch, views, start)
        listener.epoch_begins(epoch, start, loader.steps)
        clock = _Clock()
        while start < loader.steps:
            # An arm that was stopped further on has done this step before.
            due = [arm for arm, _ in present if arm.position[1] == start]
            end = _end(start, [arm for arm, _ in present], ahead, loader.steps)
            with clock.waiting():
                inputs = draw(start, end - start)
            if cache is not None and "weak" in teacher_views(due):
                inputs[KNOWN + "weak"] = cache(loader, inputs)
            seeds = (arm.preset.seed for arm in due)
            execute.seed(seed_of(NOISE, epoch, start, preset.data.seed, *seeds, team.rank))
            paths = tuple(arm.preset.run_path for arm in due)
            execute(paths, partial(take_steps, loader, teacher, due, execute), inputs)
            for arm in due:
                arm.advance(end - start)
            first, start = start, end
            on_cpu = compute.device.type == "cpu"
            images = loader.count(first, end)
            listener.steps_done(images, partial(_peek, present) if on_cpu else None)
            is_stopping, is_due = team.agreed(stopping(), clock.seconds() > save_every)
            if is_stopping or is_due:
                _save(present, clock)
            if is_stopping:
                raise Interrupted(f"stopped at epoch {epoch}, step {end} of {loader.steps}")
        clock.charge(arm for arm, _ in present)
        for arm, folder in present:
            _finish_epoch(arm, folder, dataset, loader.total, listener)


def _end(start: int, present: Sequence[Arm], ahead: int, steps: int) -> int:
    """Where the steps that are run at once end: at fixed places, or where another arm joins in."""
    joins = [arm.position[1] for arm in present if arm.position[1] > start]
    return min((start // ahead + 1) * ahead, steps, *joins)


class _Clock:
    """Training time since it was last charged to arms, and what of it went by waiting for data."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.waited = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self.since

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Context in which images are waited for."""
        before = time.monotonic()
        yield
        self.waited += time.monotonic() - before

    def charge(self, arms: Iterable[Arm]) -> None:
        """Add the time to the epoch of each arm, and start anew."""
        seconds = self.seconds()
        for arm in arms:
            arm.seconds += seconds
            arm.waited += self.waited
        self.since, self.waited = time.monotonic(), 0.0


def _finish_epoch(
    arm: Arm, folder: RunFolder, dataset: Dataset, images: int, listener: Listener
) -> None:
    team = arm.compute.team
    trained = arm.meters.read(arm.position[0], team)
    team.like_first(arm.student)
    sets = {"test": dataset.test} | ({"val": dataset.val} if dataset.val else {})
    evaluated: dict[str, float] = {}
    for name, of_set in sets.items():
        values = measured(arm.student, of_set, arm.preset.data, team)
        if not math.isfinite(values["loss"]):
            raise RunError(
                f"{arm.preset.run_name}: logits not finite after epoch {arm.position[0]}"
            )
        evaluated |= {f"{name}_{key}": value for key, value in values.items()}
    is_best = arm.finish_epoch(trained | evaluated, images)
    state = arm.state_dict()
    classes = dataset.train.classes if isinstance(dataset.train, FolderSet) else None
    team.led(lambda: folder.save_epoch(arm, state, is_best, classes))
    listener.epoch_done(arm)


def _save(arms: Sequence[tuple[Arm, RunFolder]], clock: _Clock) -> None:
    clock.charge(arm for arm, _ in arms)
    for arm, folder in arms:
        # A state with a loss that is not finite must not replace a good one.
        arm.meters.read(arm.position[0], arm.compute.team)
        state = arm.state_dict()
        arm.compute.team.led(partial(folder.save_state, state))


def _peek(arms: Iterable[tuple[Arm, RunFolder]]) -> dict[str, dict[str, float]]:
    return {arm.preset.run_path: arm.meters.read(arm.position[0]) for arm, _ in arms}
