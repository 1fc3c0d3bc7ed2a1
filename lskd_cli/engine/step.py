"""The steps of training that all arms of a pass take together."""

from collections.abc import Iterable, Sequence
from functools import partial

from lskd_cli.data import Draws, Loader, seed_of
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.replay import Execution
from lskd_cli.engine.teacher import Teacher
from lskd_cli.models import Output
from lskd_cli.view import View

# Among the draws: logits that are known already, (N, C) of a view.
KNOWN = "teacher."
# The first of the numbers that dropped paths derive from, and nothing else does.
NOISE = 2**31


def take_steps(
    loader: Loader,
    teacher: Teacher | None,
    arms: Sequence[Arm],
    execute: Execution,
    draws: Draws,
) -> None:
    """One or more steps: the views are cut at once and seen by the teacher at once.

    Nothing here reads from the device or depends on what Python knows of the epoch, so it can be
    recorded and replayed.

    Args:
        loader: of the images.
        teacher: where an arm learns from one.
        arms: each takes all the steps.
        execute: runs the arms side by side where the device can.
        draws: of the images of the steps; a whole number of batches, or up to the epoch's end.
    """
    batch = loader.cut(draws)
    known: dict[View, Output] = {
        view: Output(draws[KNOWN + view]) for view in batch.views if KNOWN + view in draws
    }
    wanted = teacher_views(arms)
    outputs = known
    if teacher is not None:
        outputs = known | teacher(batch.views, [view for view in wanted if view not in known])
    size = loader.data.batch_size
    parts = [slice(start, start + size) for start in range(0, len(batch.target), size)]

    def learn(arm: Arm) -> None:
        epoch, step = arm.position
        for number, part in enumerate(parts):
            # Of dropped paths: the same whichever arms are trained beside.
            place = (NOISE, epoch, step + number, arm.preset.seed, loader.share.rank)
            execute.seed(seed_of(*place))
            seen = {view: output.part(part) for view, output in outputs.items()}
            own = batch.part(part)
            arm.learn(own, seen, loader.weight(len(own.target), step + number))

    execute.together([partial(learn, arm) for arm in arms])


def teacher_views(arms: Iterable[Arm]) -> list[View]:
    """Views that the teacher has to see for these arms."""
    return union(arm.distiller.views for arm in arms if arm.distiller.needs_teacher)


def union(views: Iterable[Sequence[View]]) -> list[View]:
    """Views of several, each once."""
    return list(dict.fromkeys(view for group in views for view in group))
