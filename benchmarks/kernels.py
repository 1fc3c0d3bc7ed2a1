"""The operations of a training step that take most time, from PyTorch's profiler.

    python -m benchmarks.kernels [--preset kd-r32x4-r8x4] [--rows 40]

On a GPU these are its kernels, of steps without CUDA graphs, in which they have names of their own.
"""

import argparse
from dataclasses import replace

from torch.profiler import ProfilerActivity, profile

from benchmarks.common import engine_step, machine, random_images
from lskd_cli.config import load_preset
from lskd_cli.engine.devices.runtime import resolve_runtime


def main() -> None:
    """Profile a launch of steps, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="kd-r32x4-r8x4")
    parser.add_argument("--rows", type=int, default=40)
    options = parser.parse_args()
    runtime = replace(resolve_runtime(), graphs=False)
    preset = load_preset(options.preset).with_stand(True)
    step, num_steps = engine_step([preset], random_images(), runtime)
    activities = [ProfilerActivity.CPU]
    on_cuda = runtime.device.type == "cuda"
    if on_cuda:
        activities.append(ProfilerActivity.CUDA)
    with runtime.precision_context():
        for _ in range(3):
            step()
        runtime.synchronize()
        with profile(activities=activities) as profiled:
            step()
            runtime.synchronize()
    events = profiled.key_averages()
    print(f"{preset.run_name}, {num_steps} steps, {len(events)} operations; {machine(runtime)}")
    order = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    print(events.table(sort_by=order, row_limit=options.rows, max_name_column_width=60))


if __name__ == "__main__":
    main()
