"""kill -9 at random moments of a run, and the weights with which it ends."""

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.engine.helpers import digest, digits_preset, run_path
from tests.engine.kill_target import EPOCHS

ROOT = Path(__file__).parents[2]


def _start(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.engine.kill_target", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


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
    process = _start(root / "uninterrupted")
    start = time.monotonic()
    assert process.wait() == 0
    duration = time.monotonic() - start
    chance = random.Random(seed)
    killed, ended = 0, 0
    while killed < kills:
        process = _start(root / str(ended))
        start = time.monotonic()
        try:
            assert process.wait(timeout=chance.uniform(0.0, duration)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            ended += 1
            # If the first run was slow, later ones would all end before they are killed.
            duration = min(duration, time.monotonic() - start)
    assert _start(root / str(ended)).wait() == 0
    killed_runs = [_students(root / str(number)) for number in range(ended + 1)]
    return _students(root / "uninterrupted"), killed_runs
