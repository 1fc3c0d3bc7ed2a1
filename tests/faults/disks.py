"""Disks that are full at different moments of a training; needs user namespaces (Linux)."""

import subprocess
import sys
from pathlib import Path

from tests.engine.helpers import digest, digits_preset, run_path, training_options
from tests.engine.kill_target import EPOCHS
from tests.faults.outcome import Outcome

_ROOT = Path(__file__).parents[2]
_DISKS = 20
_FIRST, _STEP = 200, 75  # KiB; a run of two students needs about 1,700

# Trains on a small disk until it is full, then on a larger one with the same files.
_SCRIPT = """
mount -t tmpfs -o size={size}k tmpfs {runs} || exit 77
{python} -m tests.engine.kill_target {root} > /dev/null 2> {root}/messages; echo $? > {root}/first
mount -o remount,size=64m {runs}
{python} -m tests.engine.kill_target {root} > /dev/null 2> {root}/messages2; echo $? > {root}/second
cp -r {runs} {root}/finished
"""


def run(root: Path) -> list[Outcome]:
    """Train on disks of different sizes."""
    outcome = Outcome(
        "a disk that becomes full", "one line; with more space, the run ends with the same weights"
    )
    presets = [digits_preset(stand=stand, epochs=EPOCHS) for stand in (False, True)]
    expected = None
    for number in range(_DISKS + 1):
        folder = root / str(number)
        training_options(folder)
        (folder / "runs").mkdir()
        size = 65_536 if number == 0 else _FIRST + _STEP * number  # the first disk is large
        script = _SCRIPT.format(size=size, runs=folder / "runs", root=folder, python=sys.executable)
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
        done = subprocess.run(command, cwd=_ROOT, check=False)
        if done.returncode == 77:
            print("disks: this system allows no mounts in user namespaces; not tried")
            return []
        (folder / "finished").rename(folder / "copied")
        (folder / "runs").rmdir()
        (folder / "copied").rename(folder / "runs")
        students = [digest(run_path(folder, p) / "student.safetensors") for p in presets]
        expected = expected or students
        if number:
            messages = (folder / "messages").read_text()
            code = (folder / "first").read_text().strip()
            is_told = code == "0" or "No space left on device" in messages
            outcome.check(f"{size} KiB: {messages[-200:]}", is_told and students == expected)
    return [outcome]
