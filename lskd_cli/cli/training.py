"""What train and compare --train share: presets in, finished run folders out, shown on screen."""

import shlex
import sys
from collections.abc import Callable, Sequence

from lskd_cli.cli.console import say
from lskd_cli.cli.options import check_one_of
from lskd_cli.cli.progress import DownloadBar
from lskd_cli.cli.screen import Screen
from lskd_cli.cli.signals import stop_requests
from lskd_cli.config import Preset
from lskd_cli.engine.device import Compute, resolve_compute
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.training import Pass, Places, prepared
from lskd_cli.errors import Interrupted


def compute_of(device: str, precision: str) -> Compute:
    """The device and precision that the options name."""
    check_one_of("--precision", precision, ("auto", "fp32", "bf16"))
    return resolve_compute(device, precision)  # type: ignore[arg-type]


def train_presets(
    presets: Sequence[Preset], places: Places, compute: Compute, fresh: bool
) -> list[RunFolder]:
    """Train what is not finished, pass after pass.

    Returns:
        The folders of all presets.

    Raises:
        RequestError: settings, teacher, data or folders do not fit the request.
        RunError: the training failed.
        Interrupted: it was stopped; the message says how to go on.
    """
    with (
        DownloadBar(presets[0].data.name) as bar,
        prepared(presets, places, compute, bar, fresh) as job,
    ):
        for path in job.moved:
            say(f"{path}: the earlier run")
        for folder in job.finished:
            say(f"{folder.path}: finished already; --fresh starts it over")
        # The same words go on where they stopped; --fresh, which is done, would start over.
        again = shlex.join(["lskd", *(word for word in sys.argv[1:] if word != "--fresh")])
        try:
            with stop_requests() as stopping:
                for one in job.passes:
                    if stopping():
                        raise Interrupted("stopped between two passes")
                    _train(one, stopping)
        except Interrupted as stopped:
            raise Interrupted(f"{stopped}; everything is saved, go on with: {again}") from None
        except KeyboardInterrupt:
            raise Interrupted(
                f"ended at once; what was saved before is kept, go on with: {again}"
            ) from None
    return job.finished + [folder for one in job.passes for _, folder in one.runs]


def _train(one: Pass, stopping: Callable[[], bool]) -> None:
    arms = one.arms()
    for arm, folder in arms:
        epoch, step = arm.position
        if (1, 0) < (epoch, step) < (arm.preset.schedule.epochs + 1, 0):
            say(f"{folder.path}: going on at epoch {epoch}, step {step + 1}")
    screen = Screen([arm.preset for arm, _ in arms], len(one.dataset.train), _heading(one))
    with screen:
        one.train(arms, screen, shlex.join(["lskd", *sys.argv[1:]]), stopping)
    for arm, folder in arms:
        best = arm.best or arm.history[-1]
        say(
            f"{folder.path}: top-1 {arm.history[-1]['test_top1']:.2f} % after the last epoch, "
            f"{best['test_top1']:.2f} % after the best ({best['epoch']})"
        )


def _heading(one: Pass) -> str:
    preset, compute = one.runs[0][0], one.compute
    networks = f"{preset.teacher} → {preset.student}" if preset.teacher else preset.student
    return (
        f"{networks} on {preset.data.name}, seed {preset.seed}, "
        f"batch {preset.data.batch_size}, {compute.device}, {compute.precision}"
    )
