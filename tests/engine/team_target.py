"""What the tests of several processes start, with torchrun or without it.

``python -m tests.engine.team_target SCENARIO ROOT`` trains on 151 digits in batches of 64: the last
one of an epoch has 23 images, which two processes cannot halve.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from lskd_cli.config import Preset
from lskd_cli.data import Batch, CropLoader, Draws, ImageSet, datasets
from lskd_cli.distillers.base import Gather
from lskd_cli.distillers.crd import CRD
from lskd_cli.download import Progress
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import resolve_compute
from lskd_cli.engine.team import assembled
from lskd_cli.launch import rank
from tests.engine.helpers import digits_preset, train

SMALL_STEPS = "optimizer.lr=0.002"


def arms(scenario: str) -> list[Preset]:
    """The presets that a scenario trains in one pass."""
    if scenario == "killed":
        return [digits_preset("kd", True, 3)]
    if scenario == "features":
        return [digits_preset(method, False, 2, SMALL_STEPS) for method in ("at", "crd")]
    # Warmed up within the run, so that both of its parts count.
    return [
        digits_preset("kd", True, 2, SMALL_STEPS),
        digits_preset("dkd", False, 2, SMALL_STEPS, "method.warmup=1"),
    ]


def _few_images() -> None:
    whole = datasets._LOADERS["digits"]

    def few(folder: Path, progress: Progress) -> tuple[ImageSet, ImageSet]:
        train_set, test_set = whole(folder, progress)
        return (
            ImageSet(train_set.images[:151], train_set.targets[:151]),
            ImageSet(test_set.images[:51], test_set.targets[:51]),
        )

    datasets._LOADERS["digits"] = few


def _hold_batch_norms() -> None:
    """Batch norms in their evaluation statistics: otherwise every process has its own."""
    begin = Arm.begin_epoch

    def held(arm: Arm) -> None:
        begin(arm)
        for module in arm.learner.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    Arm.begin_epoch = held  # type: ignore[method-assign]


def _note_images(root: Path) -> None:
    """Write which images this process learns from, a line a step."""
    cut: Callable[..., Batch] = CropLoader.cut

    def noted(loader: CropLoader, draws: Draws) -> Batch:
        with (root / f"images{rank()}.jsonl").open("a") as file:
            file.write(json.dumps(draws["index"].tolist()) + "\n")
        return cut(loader, draws)

    CropLoader.cut = noted  # type: ignore[method-assign]


def _note_memory(root: Path) -> None:
    """Write what this process remembers of all images after each step of crd, a line a step."""
    after_step = CRD.after_step

    def noted(method: CRD, gathered: Gather) -> None:
        after_step(method, gathered)
        banks = (method.student_bank, method.teacher_bank)
        sums = [part.double().sum().item() for b in banks for part in (b.entries, b.constant)]
        with (root / f"memory{rank()}.jsonl").open("a") as file:
            file.write(json.dumps([*sums, method.student_bank.entries[:, 0].tolist()]) + "\n")

    CRD.after_step = noted  # type: ignore[method-assign]


def _kill_once(steps: int) -> None:
    """End the second process outright in the given step, before any restart."""
    learn = Arm.learn
    taken = 0

    def killed(arm: Arm, *parts: object) -> None:
        nonlocal taken
        taken += 1
        if rank() == 1 and taken == steps and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        learn(arm, *parts)  # type: ignore[arg-type]

    Arm.learn = killed  # type: ignore[method-assign]


def main(scenario: str, root: Path) -> None:
    torch.set_num_threads(1)
    _few_images()
    if scenario in ("equal", "features"):
        _hold_batch_norms()
        _note_images(root)
        _note_memory(root)
    if scenario == "killed":
        _kill_once(5)
    compute = resolve_compute("cpu", "fp32")
    with assembled(on_cuda=False) as team:
        presets = arms("killed" if scenario == "whole" else scenario)
        train(presets, root, compute=replace(compute, team=team), save_every=0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
