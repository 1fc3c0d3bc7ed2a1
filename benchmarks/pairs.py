"""Steps of the engine and of a plain PyTorch loop, for every pair and four methods.

python -m benchmarks.pairs [--rounds 2]
"""

import argparse
from typing import Any

from tabulate import tabulate

from benchmarks.common import (
    STEPS_PER_EPOCH,
    engine_step,
    interleaved_times,
    machine,
    medians,
    plain_step,
    random_images,
)
from lskd_cli.config import list_pairs, load_preset
from lskd_cli.engine.devices.runtime import resolve_runtime

METHODS = ("kd", "dkd", "mlkd", "ctkd")
# Pairs with published results.
PAIRS = [
    pair
    for pair in list_pairs()
    if any(load_preset(f"{method}-{pair}").published.top1 is not None for method in METHODS)
]


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    runtime, images = resolve_runtime(), random_images()
    table: list[list[Any]] = []
    for pair in PAIRS:
        for method in METHODS:
            preset = load_preset(f"{method}-{pair}")
            engine, steps_per_launch = engine_step([preset], images, runtime)
            actions = {"plain": plain_step(preset, images, runtime.device), "engine": engine}
            step = medians(interleaved_times(actions, options.rounds, runtime))
            step["engine"] /= steps_per_launch
            table.append(
                [
                    pair,
                    method,
                    *(1000 * step[name] for name in ("plain", "engine")),
                    *(preset.data.batch_size / step[name] for name in ("plain", "engine")),
                    step["engine"] * STEPS_PER_EPOCH / 60,
                    step["plain"] / step["engine"],
                ]
            )
    headings = [
        "pair", "method", "plain, ms", "engine, ms", "plain, images/s", "engine, images/s",
        "engine, min/epoch", "ratio",
    ]  # fmt: skip
    print(machine(runtime))
    formats = ("", "", ".0f", ".1f", ".0f", ".0f", ".1f", ".2f")
    print(tabulate(table, headings, tablefmt="github", floatfmt=formats))
    print(f"lowest ratio: {min(row[-1] for row in table):.2f}")


if __name__ == "__main__":
    main()
