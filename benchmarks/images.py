"""Images in files: how fast workers make views of them, and how long a step waits for them.

python -m benchmarks.images [--rounds 5] [--steps 6]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import joblib
import torch
from tabulate import tabulate
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.common import Action, by_turns, machine, medians
from lskd_cli.config import Preset, load_preset
from lskd_cli.data import Draws, FolderSet, Loader, Share, create_loader, load_dataset
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import Compute, resolve_compute
from lskd_cli.engine.replay import execution
from lskd_cli.engine.step import take_steps
from lskd_cli.engine.teacher import Teacher
from lskd_cli.models import create_model
from lskd_cli.view import View
from tests.image_folders import CLASSES, make_folder

SIZE, QUALITY = (500, 375), 90  # as ImageNet's files commonly have
BATCH = 32
VIEWS: dict[str, Sequence[View]] = {"kd": ["weak"], "mlkd": ["weak", "strong"]}


def main() -> None:
    """Measure, print Markdown tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    compute = resolve_compute()
    print(machine(compute))
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_folder(Path(temporary) / "images", 24, 1, size=SIZE, quality=QUALITY)
        dataset = load_dataset(_preset("kd").data, folder, lambda done, total: None)
        assert isinstance(dataset.train, FolderSet)
        _print_workers(dataset.train, compute, options.rounds)
        _print_waiting(dataset.train.to(compute.device), compute, options.steps)


def _preset(method: str) -> Preset:
    settings = ["data.name=imagefolder", f"data.num_classes={CLASSES}", f"data.batch_size={BATCH}"]
    return load_preset(f"{method}-imagenet-r34-r18", settings)


def _print_workers(images: FolderSet, compute: Compute, rounds: int) -> None:
    """Epochs of views while nothing else is done, beside what a tutorial writes."""
    counts = sorted({1, joblib.cpu_count()})
    actions: dict[str, Action] = {}
    for workers in counts:
        actions[f"tutorial, {workers}"] = partial(_tutorial_epoch, images.root, workers)
        for method, views in VIEWS.items():
            loader = create_loader(images, _preset(method).data, Share(workers=workers))
            actions[f"{method}, {workers}"] = partial(_epoch, loader, views)
    for action in actions.values():
        action()  # workers that stay alive have started
    found = medians(by_turns(actions, rounds, compute.device))
    table = []
    for workers in counts:
        for name in ("tutorial", "kd", "mlkd"):
            speed = len(images) / found[f"{name}, {workers}"]
            ratio = found[f"tutorial, {workers}"] / found[f"{name}, {workers}"]
            table.append([name, workers, speed, speed / workers, ratio])
    headings = ["views", "workers", "images/s", "images/s a worker", "times the tutorial's"]
    print(tabulate(table, headings, "github", floatfmt=("", "", ".0f", ".0f", ".2f")))


def _tutorial_epoch(root: Path, workers: int) -> None:
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    dataset = ImageFolder(str(root), transform)
    for _ in DataLoader(dataset, BATCH, shuffle=True, num_workers=workers):
        pass


def _epoch(loader: Loader, views: Sequence[View]) -> None:
    make = loader.epoch(1, views, 0)
    for step in range(loader.steps):
        make(step, 1)


def _print_waiting(images: FolderSet, compute: Compute, steps: int) -> None:
    """Share of the time of training steps that is waited for images."""
    table = []
    for method in ("kd", "mlkd"):
        preset = _preset(method).with_stand(True)
        arm = Arm(preset, compute)
        teacher = Teacher(create_model("resnet34", CLASSES), compute, arm.distiller.reads)
        execute = execution(compute, print)
        loader = create_loader(images, preset.data)
        arm.begin_epoch()
        batches = _batches(loader, arm.distiller.views)
        waited = began = 0.0
        for step in range(1 + steps):
            if step == 1:  # the first one starts workers and warms up
                _finish(compute)
                waited, began = 0.0, time.perf_counter()
            before = time.perf_counter()
            inputs = next(batches)
            waited += time.perf_counter() - before
            with compute.arithmetic():
                execute("steps", partial(take_steps, loader, teacher, [arm], execute), inputs)
        _finish(compute)
        seconds = time.perf_counter() - began
        speed = steps * BATCH / seconds
        table.append([method, speed, 1000 * seconds / steps, 100 * waited / seconds])
    print()
    headings = ["method", "images/s", "ms a step", "waiting for images, %"]
    print(tabulate(table, headings, "github", floatfmt=("", ".1f", ".0f", ".2f")))


def _batches(loader: Loader, views: Sequence[View]) -> Iterator[Draws]:
    epoch = 1
    while True:
        make = loader.epoch(epoch, views, 0)
        for step in range(loader.steps - 1):  # whole batches
            yield make(step, 1)
        epoch += 1


def _finish(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)


if __name__ == "__main__":
    main()
