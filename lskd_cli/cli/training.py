"""What train and compare --train share: presets in, finished run folders out, shown on screen."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import get_args

from lskd_cli.cli.console import say
from lskd_cli.cli.options import check_one_of
from lskd_cli.cli.progress import Bar
from lskd_cli.cli.screen import Screen
from lskd_cli.cli.signals import stop_requests
from lskd_cli.config import Preset
from lskd_cli.data import images_of
from lskd_cli.engine.device import Compute, PrecisionName, resolve_compute
from lskd_cli.engine.logs import Logged, check_logs, open_logs
from lskd_cli.engine.loop import Listener
from lskd_cli.engine.request import Places, prepared
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.team import assembled
from lskd_cli.engine.training import Pass
from lskd_cli.errors import Interrupted, RequestError
from lskd_cli.launch import is_launched, is_on_one_machine, restarts


@contextmanager
def computing(
    device: str, precision: str, graphs: bool | None, compiled: bool
) -> Iterator[Compute]:
    """The device and precision that the options name, and the processes that torchrun started.

    Raises:
        RequestError: there is no such device or precision here.
    """
    check_one_of("--precision", precision, get_args(PrecisionName))
    compute = resolve_compute(device, precision, graphs, compiled)  # type: ignore[arg-type]
    with assembled(compute.device.type == "cuda") as team:
        yield replace(compute, team=team)


def places_of(
    data_dir: Path,
    checkpoints_dir: Path,
    runs_dir: Path,
    teacher_checkpoint: Path | None,
    teacher_cache: bool,
    skip_bad_images: bool,
    checkpoint_minutes: float,
    logs: Sequence[str] | None,
) -> Places:
    """Where the options say that everything is, and how often and where to write.

    Raises:
        RequestError: a log cannot be written here.
    """
    check_logs(logs or ())
    cache = checkpoints_dir / "logits" if teacher_cache else None
    save_every = 60 * checkpoint_minutes
    return Places(
        data_dir, checkpoints_dir, runs_dir, teacher_checkpoint, cache, skip_bad_images, save_every,
        logs or (),
    )  # fmt: skip


def train_presets(
    presets: Sequence[Preset], places: Places, compute: Compute, fresh: bool
) -> list[RunFolder]:
    """Train what is not finished, pass after pass.

    Processes that torchrun has restarted go on with what they began, also with ``fresh``.

    Returns:
        The folders of all presets.

    Raises:
        RequestError: settings, teacher, data or folders do not fit the request.
        RunError: the training failed.
        Interrupted: it was stopped; the message says how to go on.
    """
    if fresh and not is_on_one_machine():
        # Restarted processes could not tell what was begun before: machines count restarts apart.
        raise RequestError("--fresh: of one machine; --set name=NEW, or move the old runs yourself")
    fresh = fresh and restarts() == 0
    with (
        Bar.of_data(presets[0].data) as bar,
        prepared(presets, places, compute, bar, fresh) as job,
    ):
        for path in job.moved:
            say(f"{path}: the earlier run")
        for folder in job.finished:
            say(f"{folder.path}: finished already; --fresh starts it over")
        # The same words go on where they stopped; --fresh, which is done, would start over.
        words = [word for word in sys.argv[1:] if word != "--fresh"]
        again = shlex.join(["lskd", *words])
        if is_launched():
            again = "the same torchrun command" + (", without --fresh" if fresh else "")
        try:
            with stop_requests() as stopping:
                for one in job.passes:
                    if stopping():
                        raise Interrupted("stopped between two passes")
                    _train(one, stopping, places.logs)
        except Interrupted as stopped:
            raise Interrupted(f"{stopped}; everything is saved, go on with: {again}") from None
        except KeyboardInterrupt:
            raise Interrupted(
                f"ended at once; what was saved before is kept, go on with: {again}"
            ) from None
    return job.finished + [folder for one in job.passes for _, folder in one.runs]


def _train(one: Pass, stopping: Callable[[], bool], logs: Sequence[str]) -> None:
    arms = one.arms()
    for arm, folder in arms:
        epoch, step = arm.position
        if (1, 0) < (epoch, step) < (arm.preset.schedule.epochs + 1, 0):
            say(f"{folder.path}: going on at epoch {epoch}, step {step + 1}")
    presets = [arm.preset for arm, _ in arms]
    added = {arm.preset.method.label: arm.added_parameters for arm, _ in arms}
    for method, parameters in added.items():
        if parameters:
            say(f"{method} learns {parameters:,} parameters of its own, for training alone")
    data, team = presets[0].data, one.compute.team
    shown: AbstractContextManager[Listener] = nullcontext(Listener())
    if team.leads:
        images = images_of(len(one.dataset.train), data, team.share)
        shown = Screen(presets, images, _heading(one))
    opened = team.led(
        lambda: {
            arm.preset.run_path: open_logs(logs, arm.preset, folder.path, len(arm.history))
            for arm, folder in arms
        }
    )
    with shown as screen, closing(Logged(screen, opened or {})) as listener:
        one.train(arms, listener, shlex.join(["lskd", *sys.argv[1:]]), stopping)
    for arm, folder in arms:
        best = arm.best or arm.history[-1]
        say(
            f"{folder.path}: top-1 {arm.history[-1]['test_top1']:.2f} % after the last epoch, "
            f"{best['test_top1']:.2f} % after the best ({best['epoch']})"
        )


def _heading(one: Pass) -> str:
    preset, compute = one.runs[0][0], one.compute
    students = ", ".join(dict.fromkeys(preset.student for preset, _ in one.runs))
    seeds = ", ".join(dict.fromkeys(str(preset.seed) for preset, _ in one.runs))
    faster = "".join(
        f", {name}"
        for name, is_on in (("graphs", compute.graphs), ("compiled", compute.compiled))
        if is_on
    )
    if compute.team.size > 1:
        faster += f", {compute.team.size} processes"
    return (
        f"{f'{preset.teacher} → ' if preset.teacher else ''}{students} on {preset.data.name}, "
        f"seed {seeds}, batch {preset.data.batch_size}, "
        f"{compute.device}, {compute.precision}{faster}"
    )
