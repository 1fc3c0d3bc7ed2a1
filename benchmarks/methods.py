"""Every method on resnet32x4 to resnet8x4: time and memory of a step beside kd's.

python -m benchmarks.methods [--rounds 5]

Memory is the most that a step holds beyond what stays between steps: on a CPU by the profiler's
records of allocations, on CUDA by its allocator.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import (
    HEADLINE,
    Action,
    by_turns,
    engine_step,
    machine,
    medians,
    random_images,
)
from lskd_cli.config import METHODS, load_preset
from lskd_cli.distillers import create_distiller
from lskd_cli.engine.device import resolve_compute
from lskd_cli.models import create_model

IMAGES = 50_000  # as many as CIFAR-100 has: crd remembers each


def main() -> None:
    """Measure each method beside kd, print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    compute, images = resolve_compute(), random_images(IMAGES)
    device = compute.device
    kd, ahead = engine_step([HEADLINE], images, compute)
    # Steps that are replayed allocate nothing.
    eager = replace(compute, graphs=False)
    memory = _memory(engine_step([HEADLINE], images, eager)[0], device) / ahead
    table: list[list[Any]] = []
    for method in METHODS:
        if method in ("none", "kd"):
            continue
        preset = load_preset(f"{method}-{HEADLINE.name.partition('-')[2]}")
        step, _ = engine_step([preset], images, compute)
        seconds = medians(by_turns({"kd": kd, "own": step}, options.rounds, device))
        held = _memory(engine_step([preset], images, eager)[0], device) / ahead
        own = create_distiller(preset, create_model("resnet32x4"), images.targets)
        table.append(
            [
                method,
                1000 * seconds["own"] / ahead,
                seconds["own"] / seconds["kd"],
                held / 1e6,
                held / memory,
                sum(parameter.numel() for parameter in own.parameters()),
                sum(values.nbytes for values in own.buffers()) / 1e6,
            ]
        )
    headings = [
        "method", "ms/step", "beside kd", "MB/step", "beside kd", "parameters", "remembered, MB",
    ]  # fmt: skip
    print(machine(compute))
    print(
        tabulate(
            table,
            headings,
            tablefmt="github",
            floatfmt=("", ".0f", ".2f", ".0f", ".2f", ".0f", ".1f"),
        )
    )


def _memory(step: Action, device: torch.device) -> int:
    """Bytes."""
    step()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    allocations = [event for event in events if event.get("name") == "[memory]"]
    allocations.sort(key=lambda event: event["args"]["Ev Idx"])
    held = most = 0
    for event in allocations:
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


if __name__ == "__main__":
    main()
