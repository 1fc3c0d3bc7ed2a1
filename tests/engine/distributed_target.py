"""The program that tests of several processes start, with or without torchrun.

``python -m tests.engine.distributed_target SCENARIO ROOT`` trains on 151 digits with a batch size
of 64: the last batch of an epoch has 23 images, an odd number for two processes.
"""

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn

from lskd_cli.config import Preset
from lskd_cli.data import Batch, BatchSpec, CropLoader
from lskd_cli.data.sets import digits
from lskd_cli.distillers.base import AllGather
from lskd_cli.distillers.crd import CRD
from lskd_cli.engine.devices.dist_env import rank
from lskd_cli.engine.devices.distributed import DEFAULT_TIMEOUT, init_distributed
from lskd_cli.engine.devices.runtime import resolve_runtime
from lskd_cli.engine.training.meters import Meters
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import RunError
from tests.digits import digits_loader
from tests.engine.helpers import digits_preset, train

SMALL_STEPS = "optimizer.lr=0.002"


SHORT_TIMEOUT = timedelta(seconds=7)  # longer than the preparation on a busy machine


def scenario_presets(scenario: str) -> list[Preset]:
    """The presets that a scenario trains together."""
    if scenario in ("killed", "whole", "nan", "failed", "stopped"):
        return [digits_preset("kd", True, 3)]
    if scenario == "features":
        methods = ("at", "crd", "sdd_kd", "wkd", "simkd")
        return [digits_preset(method, False, 2, SMALL_STEPS) for method in methods]
    if scenario == "idle":
        return [
            digits_preset("kd", True, 1, SMALL_STEPS),
            digits_preset("kd", False, 1, SMALL_STEPS, "optimizer.name=dot"),
        ]
    # The warm-up ends within the run, so that both phases are tested.
    return [
        digits_preset("kd", True, 2, SMALL_STEPS),
        digits_preset("dkd", False, 2, SMALL_STEPS, "method.warmup=1"),
    ]


def _freeze_batch_norms() -> None:
    """Use running statistics in training; otherwise those of the processes differ."""
    start_epoch = StudentTrainer.start_epoch

    def start_frozen_epoch(student: StudentTrainer) -> None:
        start_epoch(student)
        for module in student.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    StudentTrainer.start_epoch = start_frozen_epoch  # type: ignore[method-assign]


def _log_images(root: Path) -> None:
    """Write the indices of this process's images, one line per step."""
    make_batch: Callable[..., Batch] = CropLoader.make_batch

    def make_logged_batch(loader: CropLoader, spec: BatchSpec) -> Batch:
        with (root / f"images{rank()}.jsonl").open("a") as file:
            file.write(json.dumps(spec.index.tolist()) + "\n")
        return make_batch(loader, spec)

    CropLoader.make_batch = make_logged_batch  # type: ignore[method-assign]


def _log_writes(root: Path) -> None:
    """Write the name of every file of a run that this process writes."""
    replace_file = Path.replace

    def replace_logged(source: Path, target: Path) -> Path:
        with (root / f"writes{rank()}.txt").open("a") as file:
            file.write(f"{target.name}\n")
        return replace_file(source, target)

    Path.replace = replace_logged  # type: ignore[method-assign]


def _log_memory_bank(root: Path) -> None:
    """Write sums of this process's memory bank of crd, one line per step."""
    on_step_end = CRD.on_step_end

    def end_logged_step(method: CRD, all_gather: AllGather) -> None:
        on_step_end(method, all_gather)
        banks = (method.student_bank, method.teacher_bank)
        sums = [part.double().sum().item() for b in banks for part in (b.entries, b.constant)]
        with (root / f"memory{rank()}.jsonl").open("a") as file:
            file.write(json.dumps([*sums, method.student_bank.entries[:, 0].tolist()]) + "\n")

    CRD.on_step_end = end_logged_step  # type: ignore[method-assign]


def _kill_once(steps: int) -> None:
    """Kill the second process in the given step of the first attempt."""
    train_step = StudentTrainer.train_steps
    step = 0

    def train_killed_step(student: StudentTrainer, *inputs: object) -> None:
        nonlocal step
        step += 1
        if rank() == 1 and step == steps and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        train_step(student, *inputs)  # type: ignore[arg-type]

    StudentTrainer.train_steps = train_killed_step  # type: ignore[method-assign]


def _make_loss_nan(steps: int) -> None:
    """Make the loss of the second process NaN in the given step."""
    update = Meters.update
    step = 0

    def update_nan(meters: Meters, names: list[str], losses: Tensor, *images: object) -> None:
        nonlocal step
        step += 1
        factor = float("nan") if rank() == 1 and step == steps else 1.0
        update(meters, names, factor * losses, *images)  # type: ignore[arg-type]

    Meters.update = update_nan  # type: ignore[method-assign]


def _stop_or_fail(steps: int, fail: bool) -> None:
    """Let the second process raise an error, or stop answering, in the given step."""
    train_step = StudentTrainer.train_steps
    step = 0

    def train_bad_step(student: StudentTrainer, *inputs: object) -> None:
        nonlocal step
        step += 1
        if rank() == 1 and step == steps and fail:
            raise RuntimeError("the disk of this machine is gone")
        if rank() == 1 and step == steps:
            time.sleep(SHORT_TIMEOUT.total_seconds() + 2)
        train_step(student, *inputs)  # type: ignore[arg-type]

    StudentTrainer.train_steps = train_bad_step  # type: ignore[method-assign]


def main(scenario: str, root: Path, device: str = "cpu") -> None:
    warnings.simplefilter("error", FutureWarning)
    torch.set_num_threads(1)
    # The last batch of 3 images is too small for four processes.
    digits.load = digits_loader(131 if scenario == "idle" else 151, 51)
    if scenario in ("equal", "features", "idle"):
        _freeze_batch_norms()
        _log_images(root)
        _log_writes(root)
        _log_memory_bank(root)
    if scenario == "killed":
        _kill_once(5)
    if scenario == "nan":
        _make_loss_nan(2)
    if scenario in ("failed", "stopped"):
        _stop_or_fail(5, fail=scenario == "failed")
    runtime = resolve_runtime(device, "fp32")
    timeout = SHORT_TIMEOUT if scenario == "stopped" else DEFAULT_TIMEOUT
    with init_distributed(device == "cuda", timeout) as group:
        presets = scenario_presets(scenario)
        try:
            runtime = replace(runtime, process_group=group)
            train(presets, root, runtime=runtime, checkpoint_interval=0)
        except RunError as error:
            (root / f"error{rank()}").write_text(str(error))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
