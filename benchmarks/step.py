"""A step of the engine and of two PyTorch loops: kd, resnet32x4 to resnet8x4, batch size 64.

    python -m benchmarks.step [--rounds 10] [--steps 3] [--compile]

Prints images per second, time per step and per epoch, and peak memory, for one student, for joint
runs of two and six students, and for one student with cached teacher logits; then the ratios.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.common import (
    HEADLINE,
    STEPS_PER_EPOCH,
    Action,
    engine_step,
    interleaved_times,
    machine,
    medians,
    plain_step,
    random_images,
    tuned_step,
)
from lskd_cli.engine.devices.runtime import resolve_runtime

VARIANTS = ("plain", "tuned", "engine", "2 students", "6 students", "cached logits")


def variant(name: str, folder: Path) -> tuple[Action, int]:
    """One launch of a variant, and the number of steps that it contains."""
    runtime, images = resolve_runtime(), random_images()
    both = [HEADLINE.with_stand(False), HEADLINE.with_stand(True)]
    seeds = [preset.model_copy(update={"seed": seed}) for seed in range(3) for preset in both]
    if name == "plain":
        return plain_step(HEADLINE, images, runtime.device), 1
    if name == "tuned":
        return tuned_step(HEADLINE, images, runtime), 1
    if name == "eager":
        return engine_step(both[:1], images, replace(runtime, graphs=False))
    if name == "compiled":
        return engine_step(both[:1], images, replace(runtime, compiled=True))
    presets = {"2 students": both, "6 students": seeds}.get(name, both[:1])
    cache = folder / "logits.npy" if name == "cached logits" else None
    return engine_step(presets, images, runtime, cache)


def peak_memory(name: str) -> float:
    """Peak memory in MiB of a variant in a process of its own: of the GPU if there is one."""
    command = [sys.executable, "-m", "benchmarks.step", "--memory-of", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="steps of each variant per round")
    parser.add_argument("--compile", action="store_true", help="measure compiled networks too")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    runtime = resolve_runtime()
    names = [*VARIANTS, *(["eager"] if runtime.graphs else [])]
    names += ["compiled"] if options.compile else []
    with tempfile.TemporaryDirectory() as folder:
        if options.memory_of:
            action, _ = variant(options.memory_of, Path(folder))
            for _ in range(5):
                action()
            if runtime.device.type == "cuda":
                print(torch.cuda.max_memory_reserved(runtime.device) / 2**20)
            else:
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        # Memory is measured first, because on Linux a new process inherits the peak of its parent.
        memory = {name: peak_memory(name) for name in names}
        variants = {name: variant(name, Path(folder)) for name in names}
        actions = {name: action for name, (action, _) in variants.items()}
        seconds = interleaved_times(actions, options.rounds, runtime, options.steps)
    step = {name: value / variants[name][1] for name, value in medians(seconds).items()}
    print(f"kd, resnet32x4 -> resnet8x4, batch {HEADLINE.data.batch_size}; {machine(runtime)}")
    for name, value in step.items():
        print(
            f"{name:13} {HEADLINE.data.batch_size / value:8.1f} images/s "
            f"{1000 * value:8.1f} ms/step "
            f"{value * STEPS_PER_EPOCH / 60:6.1f} min/epoch {memory[name]:6.0f} MiB"
        )
    print(f"engine compared with plain loop: {step['plain'] / step['engine']:.2f} times as fast")
    print(f"engine compared with tuned loop: {step['tuned'] / step['engine']:.2f} times as fast")
    both = 2 * step["tuned"] / step["2 students"]
    print(f"2 students compared with two runs of the tuned loop: {both:.2f} times as fast")
    print(f"2 students compared with 1: {step['2 students'] / step['engine']:.2f} times the time")
    print(f"6 students compared with 1: {step['6 students'] / step['engine']:.2f} times the time")
    cached = step["engine"] / step["cached logits"]
    print(f"cached logits compared with computed: {cached:.2f} times as fast")


if __name__ == "__main__":
    main()
