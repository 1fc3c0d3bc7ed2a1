"""Runs of the digits presets that are small enough for tests."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config import Preset, TrainingOptions, load_preset
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.train import train_joint_run
from lskd_cli.io.atomic import write_atomically
from lskd_cli.models import create_model

SMALL_IMAGES = "data.image_size=16"
CPU = Runtime(torch.device("cpu"), "fp32")


class Hears(Callback):
    """Collects warnings."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_warning(self, message: str) -> None:
        self.heard.append(message)


def silent(done: int, total: int | None) -> None:
    pass


def digits_preset(method: str = "kd", stand: bool = False, epochs: int = 2, *more: str) -> Preset:
    """A digits preset with images of 16 pixels, which take a quarter of the time."""
    preset = load_preset(f"{method}-digits", [SMALL_IMAGES, *more]).with_epochs(epochs)
    return preset.with_stand(True) if stand else preset


def training_options(root: Path) -> TrainingOptions:
    """Folders below ``root``, with an untrained digits teacher among the checkpoints."""
    teacher = root / "checkpoints" / "resnet20.safetensors"
    if not teacher.exists():
        torch.manual_seed(0)
        weights = create_model("resnet20", 10).state_dict()
        metadata = {"model": "resnet20", "num_classes": "10", "dataset": "digits", "top1": "50.00"}
        save_checkpoint(teacher, weights, metadata)
    return TrainingOptions(root / "data", root / "checkpoints", root / "runs")


def train(
    presets: Sequence[Preset],
    root: Path,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    fresh: bool = False,
    runtime: Runtime = CPU,
    cache_dir: Path | None = None,
    checkpoint_interval: float = 120.0,
) -> None:
    """Train presets in a joint run.

    Args:
        presets: the presets.
        root: parent of the folders of runs and checkpoints.
        callback: called after steps and epochs.
        should_stop: interrupts the training.
        fresh: archive previous runs.
        runtime: device and precision.
        cache_dir: a folder ``logits`` for the teacher cache; None disables it.
        checkpoint_interval: seconds between two saved states.
    """
    options = replace(
        training_options(root), fresh=fresh, checkpoint_minutes=checkpoint_interval / 60
    )
    if cache_dir is not None:
        assert cache_dir.name == "logits"
        # Copied atomically, because other processes may read the copy.
        content = (options.checkpoints_dir / "resnet20.safetensors").read_bytes()
        write_atomically(
            cache_dir.parent / "resnet20.safetensors", lambda path: path.write_bytes(content)
        )
        options = replace(options, checkpoints_dir=cache_dir.parent, teacher_cache=True)
    with prepare(presets, options, runtime, silent) as plan:
        for joint_run in plan.joint_runs:
            students = joint_run.create_students()
            callbacks = [] if callback is None else [callback]
            train_joint_run(joint_run, students, callbacks, "test", should_stop)


def after(steps: int) -> Callable[[], bool]:
    """A condition that is True from its ``steps``-th call on."""
    count = 0

    def should_stop() -> bool:
        nonlocal count
        count += 1
        return count >= steps

    return should_stop


def run_path(root: Path, preset: Preset) -> Path:
    return root / "runs" / preset.run_name / f"seed{preset.seed}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
