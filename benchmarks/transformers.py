"""Vision transformers: a step of each student, and both ways to make its images.

python -m benchmarks.transformers [--rounds 3] [--batch 32] [--compile]
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from tabulate import tabulate

from benchmarks.common import Action, by_turns, machine, medians, random_images
from lskd_cli.config import Preset, list_pairs, load_preset
from lskd_cli.data import Draws, ImageSet, Loader, create_loader
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import Compute, resolve_compute
from lskd_cli.engine.replay import execution
from lskd_cli.engine.step import take_steps
from lskd_cli.engine.teacher import Teacher
from lskd_cli.models import create_model

PAIRS = [pair for pair in list_pairs() if pair.startswith("r56g-")]


def main() -> None:
    """Measure, print Markdown tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--compile", action="store_true", dest="is_compiled")
    options = parser.parse_args()
    compute = resolve_compute(compiled=options.is_compiled)
    print(machine(compute))
    _print_pipelines(compute, options.rounds)
    _print_steps(random_images(40 * options.batch), compute, options.batch, options.rounds)


def _preset(name: str, batch: int, pipeline: str = "device") -> Preset:
    settings = [f"data.batch_size={batch}", f"data.augmentation.pipeline={pipeline}"]
    return load_preset(name, settings)


def _print_pipelines(compute: Compute, rounds: int) -> None:
    """Whole epochs of finished views, the start of workers included, while nothing else is done."""
    batch, count = 128, 20
    images = random_images(batch * count).to(compute.device)
    actions: dict[str, Action] = {}
    for pipeline in ("device", "workers"):
        loader = create_loader(images, _preset("kd-r56g-deit-tiny", batch, pipeline).data)
        actions[pipeline] = partial(_epoch, loader)
    found = medians(by_turns(actions, rounds, compute.device))
    rows = [[name, 1000 * time / count, batch * count / time] for name, time in found.items()]
    print(tabulate(rows, ["pipeline", "ms a batch", "images/s"], "github", floatfmt=".1f"))
    print(f"device: {found['workers'] / found['device']:.2f} times as fast as workers\n")


def _epoch(loader: Loader) -> None:
    make = loader.epoch(1, ["weak"], 0)
    for step in range(loader.steps):
        make(step, 1)


def _batches(loader: Loader) -> Iterator[Draws]:
    epoch = 1
    while True:
        make = loader.epoch(epoch, ["weak"], 0)
        for step in range(loader.steps):
            yield make(step, 1)
        epoch += 1


def _print_steps(images: ImageSet, compute: Compute, batch: int, rounds: int) -> None:
    """Steps with standardized logits, their images made on the device, beside float32."""
    exact = replace(compute, precision="fp32", compiled=False, graphs=False)
    rows: list[list[object]] = []
    for pair in PAIRS:
        preset = _preset(f"kd-{pair}", batch).with_stand(True)
        actions = {
            "float32": _step(preset, images, exact),
            "engine": _step(preset, images, compute),
        }
        found = medians(by_turns(actions, rounds, compute.device))
        ratio = found["float32"] / found["engine"]
        times = [1000 * found[name] for name in actions]
        rows.append([preset.student, *times, batch / found["engine"], ratio])
    headings = ["student", "eager float32, ms", "engine, ms", "engine, images/s", "ratio"]
    print(tabulate(rows, headings, "github", floatfmt=("", ".0f", ".0f", ".0f", ".2f")))


def _step(preset: Preset, images: ImageSet, compute: Compute) -> Action:
    arm = Arm(preset, compute)
    teacher = Teacher(create_model("resnet56_guide"), compute, arm.distiller.reads)
    execute = execution(compute, print)
    loader = create_loader(images.to(compute.device), preset.data)
    if compute.compiled:
        arm.compile(print)
        teacher.compile(preset.data.batch_size, print)
    arm.begin_epoch()
    batches = _batches(loader)

    def step() -> None:
        with compute.arithmetic(), torch.no_grad():
            inputs = next(batches)
        with compute.arithmetic():
            execute("steps", partial(take_steps, loader, teacher, [arm], execute), inputs)

    return step


if __name__ == "__main__":
    main()
