"""Every end of a training whose images are read by worker processes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.faults.outcome import Outcome
from tests.image_folders import make_folder

_RUNS = 4  # for each end
_MAX_SECONDS = 60.0
_NETWORK = """
import torch
from torch import nn
from lskd_cli.models import register_model

class Late(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        if self.steps == 30:
            {fault}
        return self.fc(images.mean(dim=(2, 3)))

@register_model
def late(num_classes: int) -> nn.Module:
    return Late(num_classes)
"""
_FAULTS = {
    "a network that raises an error": "raise ValueError('this network fails')",
    "a loss that is not finite": "return self.fc(images.mean(dim=(2, 3)) * float('nan'))",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(root: Path) -> list[Outcome]:
    """End trainings a few times in each way."""
    ends: dict[str, Callable[[subprocess.Popen[bytes], Path], None]] = {
        "a deleted folder of images": _delete_images,
        "a killed worker process": _kill_worker,
        **{
            f"{number.name} during training": lambda process, _, number=number: (  # type: ignore[misc]
                process.send_signal(number)
            )
            for number in _SIGNALS
        },
        **dict.fromkeys(_FAULTS, lambda process, folder: None),
    }
    outcomes = []
    for fault, end in ends.items():
        outcome = Outcome(fault, "one message; no process is left after a minute")
        for number in range(_RUNS):
            folder = root / fault.replace(" ", "-") / str(number)
            problem = _end(folder, _FAULTS.get(fault, "pass"), end, random.Random(number))
            outcome.check(f"{number}: {problem}", problem is None)
        outcomes.append(outcome)
    return outcomes


def _end(
    folder: Path,
    fault: str,
    end: Callable[[subprocess.Popen[bytes], Path], None],
    chance: random.Random,
) -> str | None:
    """Start a training, end it, and return what is wrong about its end."""
    make_folder(folder / "images", train=10, val=3, classes=3)
    (folder / "late.py").write_text(_NETWORK.format(fault=fault))
    command = [
        *(sys.executable, "-m", "lskd_cli", "train", "alone-own", "--student", "late"),
        *("--model-file", "late.py", "--dataset", "imagefolder", "--data-dir", "images"),
        *("--set", "data.image_size=32", "--batch-size", "4", "--epochs", "100"),
        *("--device", "cpu", "--precision", "fp32"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    with (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            command, cwd=folder, stderr=err, env=environment, start_new_session=True
        )
    try:
        while "epoch 2/" not in _text(folder) and process.poll() is None:
            time.sleep(0.1)
        time.sleep(chance.uniform(0, 1))
        end(process, folder)
        try:
            process.wait(_MAX_SECONDS)
        except subprocess.TimeoutExpired:
            return "the command does not end"
        text = _text(folder)
        if process.returncode == 0 or "Traceback" in text or "internal error" in text:
            return f"exit code {process.returncode}: {text[-300:]}"
        if "error " not in text and "resume with" not in text:
            return f"no message: {text[-300:]}"
        return None if _is_empty(process.pid) else "a worker process is left"
    finally:
        if not _is_empty(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def _text(folder: Path) -> str:
    return (folder / "err").read_text(errors="replace")


def _is_empty(group: int) -> bool:
    """Whether all processes of a group end within ten seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def _delete_images(process: subprocess.Popen[bytes], folder: Path) -> None:
    for file in (folder / "images" / "train" / "class00").iterdir():
        file.unlink()


def _kill_worker(process: subprocess.Popen[bytes], folder: Path) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    while process.poll() is None:
        for child in children.read_text().split():
            # Forked workers have the command of their parent; they may end before they are killed.
            with suppress(OSError):
                if Path(f"/proc/{child}/cmdline").read_bytes() == command:
                    os.kill(int(child), signal.SIGKILL)
                    return
