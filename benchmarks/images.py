"""Image files: speed of the workers that make views, and the time that a step waits for them.

python -m benchmarks.images [--rounds 5] [--steps 6]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import joblib
from tabulate import tabulate
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.common import Action, interleaved_times, machine, medians
from lskd_cli.config import Preset, View, load_preset
from lskd_cli.data import (
    BatchSpec,
    DataShard,
    FolderImages,
    Loader,
    create_loader,
    load_splits,
)
from lskd_cli.engine.devices.cuda_graphs import WARMUP_RUNS, create_runner
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime
from lskd_cli.engine.training.joint_step import create_joint_step
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import create_model
from tests.image_folders import CLASSES, make_folder

SIZE, QUALITY = (500, 375), 90  # typical of ImageNet
BATCH = 32
VIEWS: dict[str, Sequence[View]] = {"kd": ["weak"], "mlkd": ["weak", "strong"]}


def main() -> None:
    """Measure, and print Markdown tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    runtime = resolve_runtime()
    print(machine(runtime))
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_folder(Path(temporary) / "images", 24, 1, size=SIZE, quality=QUALITY)
        dataset = load_splits(_preset("kd").data, folder, lambda done, total: None)
        assert isinstance(dataset.train, FolderImages)
        _print_workers(dataset.train, runtime, options.rounds)
        _print_waiting(dataset.train.to(runtime.device), runtime, options.steps)


def _preset(method: str) -> Preset:
    settings = ["data.name=imagefolder", f"data.num_classes={CLASSES}", f"data.batch_size={BATCH}"]
    return load_preset(f"{method}-imagenet-r34-r18", settings)


def _print_workers(images: FolderImages, runtime: Runtime, rounds: int) -> None:
    """Time of epochs of views alone, compared with the loader of a tutorial."""
    counts = sorted({1, joblib.cpu_count()})
    actions: dict[str, Action] = {}
    for workers in counts:
        actions[f"tutorial, {workers}"] = partial(_tutorial_epoch, images.root, workers)
        for method, views in VIEWS.items():
            loader = create_loader(images, _preset(method).data, DataShard(num_workers=workers))
            actions[f"{method}, {workers}"] = partial(_epoch, loader, views)
    for action in actions.values():
        action()  # starts persistent workers
    times = medians(interleaved_times(actions, rounds, runtime))
    table = []
    for workers in counts:
        for name in ("tutorial", "kd", "mlkd"):
            speed = len(images) / times[f"{name}, {workers}"]
            ratio = times[f"tutorial, {workers}"] / times[f"{name}, {workers}"]
            table.append([name, workers, speed, speed / workers, ratio])
    headings = ["views", "workers", "images/s", "images/s per worker", "ratio to tutorial"]
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
    loader.start_epoch(1, views, 0)
    for step in range(loader.num_steps):
        loader.batch_spec(step, 1)


def _print_waiting(images: FolderImages, runtime: Runtime, steps: int) -> None:
    """Share of the time of training steps in which the loop waits for images."""
    table = []
    for method in ("kd", "mlkd"):
        preset = _preset(method).with_stand(True)
        student = StudentTrainer(preset, runtime)
        features = student.distiller.required_features
        teacher = Teacher(create_model("resnet34", CLASSES), runtime, features)
        runner = create_runner(runtime, print)
        loader = create_loader(images, preset.data)
        student.start_epoch()
        specs = _specs(loader, student.distiller.views)
        wait_seconds = start = 0.0
        # The first steps start workers and warm up; with graphs, the last of them is captured.
        num_first = WARMUP_RUNS + 1 if runtime.graphs else 1
        for step in range(num_first + steps):
            if step == num_first:
                runtime.synchronize()
                wait_seconds, start = 0.0, time.perf_counter()
            before = time.perf_counter()
            spec = next(specs)
            wait_seconds += time.perf_counter() - before
            with runtime.precision_context():
                runner.run(create_joint_step(loader, teacher, [student]), spec)
        runtime.synchronize()
        seconds = time.perf_counter() - start
        speed = steps * BATCH / seconds
        table.append([method, speed, 1000 * seconds / steps, 100 * wait_seconds / seconds])
    print()
    headings = ["method", "images/s", "ms/step", "waiting for images, %"]
    print(tabulate(table, headings, "github", floatfmt=("", ".1f", ".0f", ".2f")))


def _specs(loader: Loader, views: Sequence[View]) -> Iterator[BatchSpec]:
    for epoch in count(1):
        loader.start_epoch(epoch, views, 0)
        for step in range(loader.num_steps - 1):  # full batches only
            yield loader.batch_spec(step, 1)


if __name__ == "__main__":
    main()
