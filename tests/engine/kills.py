"""kill -9 at random moments of a run, and the weights with which it ends."""

import random
import time
from pathlib import Path

from tests.engine.helpers import digest, digits_preset, run_path
from tests.engine.kill_target import EPOCHS, main
from tests.workers import start


def _students(root: Path) -> list[str]:
    presets = [digits_preset(epochs=EPOCHS), digits_preset(stand=True, epochs=EPOCHS)]
    return [
        digest(run_path(root, preset) / name)
        for preset in presets
        for name in ("student.safetensors", "best.safetensors")
    ]


def kill_and_resume(root: Path, kills: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Kill a run a number of times; if a run ends before a kill, another one is started.

    Returns:
        The digests of an uninterrupted run, and those of each run that was killed and resumed.
    """
    begin = time.monotonic()
    _train(root / "uninterrupted")
    duration = time.monotonic() - begin
    chance = random.Random(seed)
    killed, ended = 0, 0
    while killed < kills:
        process, begin = start(main, root / str(ended)), time.monotonic()
        process.join(timeout=chance.uniform(0.0, duration))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0
            ended += 1
            # If the first run was slow, later ones would all end before they are killed.
            duration = min(duration, time.monotonic() - begin)
    _train(root / str(ended))
    killed_runs = [_students(root / str(number)) for number in range(ended + 1)]
    return _students(root / "uninterrupted"), killed_runs


def _train(root: Path) -> None:
    process = start(main, root)
    process.join()
    assert process.exitcode == 0
