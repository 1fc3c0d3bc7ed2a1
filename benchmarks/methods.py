"""Time and memory of a step of every method, compared with kd, for resnet32x4 to resnet8x4.

python -m benchmarks.methods [--rounds 5] [METHOD ...]

Memory is the peak of a step beyond what is allocated between steps, as recorded by the profiler on
a CPU and by the allocator on CUDA.
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
    engine_step,
    interleaved_times,
    machine,
    medians,
    random_images,
)
from lskd_cli.config import builtin_methods, load_preset
from lskd_cli.distillers import create_distiller
from lskd_cli.engine.devices.runtime import resolve_runtime
from lskd_cli.models import create_model

IMAGES = 50_000  # the size of CIFAR-100; the memory banks of crd grow with it


def main() -> None:
    """Measure every method, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("methods", nargs="*", default=builtin_methods(), metavar="METHOD")
    options = parser.parse_args()
    runtime, images = resolve_runtime(), random_images(IMAGES)
    device = runtime.device
    kd, steps_per_launch = engine_step([HEADLINE], images, runtime)
    # A replayed graph allocates nothing.
    eager = replace(runtime, graphs=False)
    memory = _memory(engine_step([HEADLINE], images, eager)[0], device)
    table: list[list[Any]] = []
    for method in options.methods:
        if method in ("none", "kd"):
            continue
        preset = load_preset(f"{method}-{HEADLINE.name.partition('-')[2]}")
        step, _ = engine_step([preset], images, runtime)
        seconds = medians(interleaved_times({"kd": kd, "method": step}, options.rounds, runtime))
        step_memory = _memory(engine_step([preset], images, eager)[0], device)
        distiller = create_distiller(preset, create_model("resnet32x4"), images.targets)
        table.append(
            [
                method,
                1000 * seconds["method"] / steps_per_launch,
                seconds["method"] / seconds["kd"],
                step_memory / 1e6,
                step_memory / memory,
                sum(parameter.numel() for parameter in distiller.parameters()),
                sum(values.nbytes for values in distiller.buffers()) / 1e6,
            ]
        )
    headings = [
        "method", "ms/step", "ratio to kd", "MB", "ratio to kd", "parameters", "buffers, MB",
    ]  # fmt: skip
    print(machine(runtime))
    print(
        tabulate(
            table,
            headings,
            tablefmt="github",
            floatfmt=("", ".0f", ".2f", ".0f", ".2f", ".0f", ".1f"),
        )
    )


def _memory(step: Action, device: torch.device) -> int:
    """Peak memory of a step in bytes."""
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
    allocated = peak = 0
    for event in allocations:
        allocated += event["args"]["Bytes"]
        peak = max(peak, allocated)
    return peak


if __name__ == "__main__":
    main()
