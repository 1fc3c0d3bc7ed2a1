"""Time and memory of a training, estimated from a few measured steps on random images."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from lskd_cli.config import Preset
from lskd_cli.data import count_train_images, epoch_size
from lskd_cli.engine.devices.cuda_graphs import WARMUP_RUNS
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.dry_run import run_launches
from lskd_cli.engine.training.joint_run import JointRun

_LAUNCHES = 5  # that are measured
_ENOUGH_SECONDS = 3.0  # after which a single process measures no further launch


@dataclass(frozen=True)
class TrainingCost:
    """Estimated cost of a joint run.

    Attributes:
        step_seconds: median time of a step of all students, without reading of images.
        num_steps: number of steps that remain.
        memory: largest memory during the measured steps, in bytes: that of the GPU, or that of the
            process on a CPU; None if it is unknown.
    """

    step_seconds: float
    num_steps: int
    memory: int | None

    @property
    def seconds(self) -> float:
        """Time of all remaining steps, without evaluation."""
        return self.step_seconds * self.num_steps


def preset_cost(preset: Preset, data_dir: Path, runtime: Runtime) -> TrainingCost:
    """The cost of training a preset from its first step.

    Raises:
        RequestError: the custom images in ``data_dir`` cannot be listed, or make no batch.
    """
    num_images = count_train_images(preset.data, data_dir)
    return _measure([preset], num_images, preset.schedule.epochs, runtime)


def joint_run_cost(run: JointRun) -> TrainingCost:
    """The cost of what remains of a joint run.

    Raises:
        RequestError: the images make no batch.
    """
    presets = [planned.preset for planned in run.runs]
    starts = [planned.state["position"][0] if planned.state else 1 for planned in run.runs]
    return _measure(presets, len(run.splits.train), run.epochs - min(starts) + 1, run.runtime)


def measure_step(presets: Sequence[Preset], num_images: int, runtime: Runtime) -> TrainingCost:
    """The cost of an epoch of a joint run of presets with the same data and teacher."""
    return _measure(presets, num_images, 1, runtime)


def _measure(
    presets: Sequence[Preset], num_images: int, epochs: int, runtime: Runtime
) -> TrainingCost:
    group = runtime.process_group
    if group.world_size == 1:
        presets = [_with_batch_of_at_most(num_images, preset) for preset in presets]
    data = presets[0].data
    steps_per_epoch = -(-epoch_size(num_images, data, group.shard) // data.batch_size)
    if runtime.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(runtime.device)
    # The first launches allocate memory; with graphs, the next one is compared with an eager one.
    warm_up = WARMUP_RUNS + 2 if runtime.graphs else 2
    seconds: list[float] = []
    start = time.monotonic()
    launches = run_launches(presets, runtime, warm_up + _LAUNCHES, lambda _: None)
    for number, (steps, _) in enumerate(launches):
        runtime.synchronize()
        if number >= warm_up:
            seconds.append((time.monotonic() - start) / steps)
        # All processes take the same number of steps.
        if group.world_size == 1 and sum(seconds) * steps > _ENOUGH_SECONDS:
            break
        start = time.monotonic()
    return TrainingCost(median(seconds), epochs * steps_per_epoch, _peak_memory(runtime.device))


def _with_batch_of_at_most(num_images: int, preset: Preset) -> Preset:
    """The preset, whose batch is that of a step if there are fewer images than ``batch_size``."""
    batch_size = min(preset.data.batch_size, num_images)
    return preset.model_copy(
        update={"data": preset.data.model_copy(update={"batch_size": batch_size})}
    )


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        # Branches of a step run on streams of their own, which share no freed memory.
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    from resource import RUSAGE_SELF, getrusage

    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * unit
