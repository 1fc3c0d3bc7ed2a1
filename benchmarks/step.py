"""The engine's step beside a plain PyTorch loop: kd, resnet32x4 to resnet8x4, batch 64.

    python -m benchmarks.step [--rounds 10] [--steps 3] [--compile]

Prints images per second, ms a step, time per epoch and peak memory of one student, of two and of
six in a pass, of one whose teacher's logits are kept on disk, and the ratios.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.common import (
    HEADLINE,
    STEPS_OF_AN_EPOCH,
    Action,
    by_turns,
    engine_step,
    machine,
    medians,
    plain_step,
    random_images,
)
from lskd_cli.engine.device import resolve_compute

VARIANTS = ("plain", "engine", "2 arms", "6 arms", "kept logits")


def variant(name: str, folder: Path) -> tuple[Action, int]:
    """What one variant does at once, and how many steps that is."""
    compute, images = resolve_compute(), random_images()
    both = [HEADLINE.with_stand(False), HEADLINE.with_stand(True)]
    seeds = [preset.model_copy(update={"seed": seed}) for seed in range(3) for preset in both]
    if name == "plain":
        return plain_step(HEADLINE, images, compute.device), 1
    if name == "compiled":
        return engine_step(both[:1], images, replace(compute, compiled=True))
    arms = {"2 arms": both, "6 arms": seeds}.get(name, both[:1])
    cache = folder / "logits.npy" if name == "kept logits" else None
    return engine_step(arms, images, compute, cache)


def peak_memory(name: str) -> float:
    """Peak resident memory (MiB) of a process that runs one variant."""
    command = [sys.executable, "-m", "benchmarks.step", "--memory-of", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="of each variant in a round")
    parser.add_argument("--compile", action="store_true", help="also with compiled networks")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [*VARIANTS, *(["compiled"] if options.compile else [])]
    compute = resolve_compute()
    with tempfile.TemporaryDirectory() as folder:
        if options.memory_of:
            action, _ = variant(options.memory_of, Path(folder))
            for _ in range(5):
                action()
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        # Memory first: Linux hands the peak of a process on to those that it starts.
        memory = {name: peak_memory(name) for name in names}
        made = {name: variant(name, Path(folder)) for name in names}
        actions = {name: action for name, (action, _) in made.items()}
        seconds = by_turns(actions, options.rounds, compute.device, options.steps)
    step = {name: value / made[name][1] for name, value in medians(seconds).items()}
    print(f"kd, resnet32x4 -> resnet8x4, batch {HEADLINE.data.batch_size}; {machine(compute)}")
    for name, value in step.items():
        print(
            f"{name:12} {HEADLINE.data.batch_size / value:8.1f} images/s {1000 * value:8.1f} ms a "
            f"step {value * STEPS_OF_AN_EPOCH / 60:6.1f} min an epoch {memory[name]:6.0f} MiB"
        )
    print(f"engine against plain: {step['plain'] / step['engine']:.2f} times as fast")
    print(f"2 arms against 1: {step['2 arms'] / step['engine']:.2f} times the time")
    print(f"6 arms against 1: {step['6 arms'] / step['engine']:.2f} times the time")
    print(f"kept logits against computed: {step['engine'] / step['kept logits']:.2f} times as fast")


if __name__ == "__main__":
    main()
