"""Runs of the digits presets, small enough for a test."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config import Preset, load_preset
from lskd_cli.engine.device import Compute
from lskd_cli.engine.loop import SAVE_EVERY, Listener
from lskd_cli.engine.request import Places, prepared
from lskd_cli.models import create_model

CPU = Compute(torch.device("cpu"), "fp32")


def silent(done: int, total: int | None) -> None:
    pass


def digits_preset(method: str = "kd", stand: bool = False, epochs: int = 2, *more: str) -> Preset:
    preset = load_preset(f"{method}-digits", more).rescaled(epochs)
    return preset.with_stand(True) if stand else preset


def places(root: Path) -> Places:
    """Folders below ``root``; the digits teacher, untrained, is among the checkpoints."""
    teacher = root / "checkpoints" / "resnet20.safetensors"
    if not teacher.exists():
        torch.manual_seed(0)
        weights = create_model("resnet20", 10).state_dict()
        metadata = {"model": "resnet20", "num_classes": "10", "dataset": "digits", "top1": "50.00"}
        save_checkpoint(teacher, weights, metadata)
    return Places(root / "data", root / "checkpoints", root / "runs")


def train(
    presets: Sequence[Preset],
    root: Path,
    listener: Listener | None = None,
    stopping: Callable[[], bool] = lambda: False,
    fresh: bool = False,
    compute: Compute = CPU,
    teacher_cache: Path | None = None,
    save_every: float = SAVE_EVERY,
) -> None:
    where = replace(places(root), teacher_cache=teacher_cache, save_every=save_every)
    with prepared(presets, where, compute, silent, fresh) as job:
        for one in job.passes:
            one.train(one.arms(), listener or Listener(), "test", stopping)


def after(steps: int) -> Callable[[], bool]:
    """Asked after every step, says yes once so many are done."""
    count = 0

    def stopping() -> bool:
        nonlocal count
        count += 1
        return count >= steps

    return stopping


def run_path(root: Path, preset: Preset) -> Path:
    return root / "runs" / preset.run_name / f"seed{preset.seed}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
