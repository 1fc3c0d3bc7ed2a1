"""The engine's training step against a plain PyTorch loop: kd, resnet32x4 to resnet8x4, batch 64.

    python benchmarks/step.py [--rounds 12] [--steps 4] [--json]

The plain loop is what a tutorial writes: a DataLoader over Pillow transforms, float32, the loss
read with .item() in every step. Both are given the same images and the same networks. They take
turns in one process, so that a slow moment of the machine meets both; the ratio is of medians.
Peak memory is that of a process of its own for each.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from lskd_cli.config import load_preset
from lskd_cli.data import ImageSet, Loader, rows
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import resolve_compute
from lskd_cli.engine.replay import execution
from lskd_cli.engine.step import take_steps
from lskd_cli.engine.teacher import Teacher
from lskd_cli.models import create_model

PRESET = load_preset("kd-r32x4-r8x4")
IMAGES = 6400  # an eighth of CIFAR-100: enough batches, little set-up
Step = Callable[[], None]


def random_images() -> ImageSet:
    """Noise: what the pixels are does not change what a step costs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(0, 100, (IMAGES,), generator=generator))


class PillowImages(Dataset[tuple[Tensor, int]]):
    """Images one by one through torchvision's transforms, as its own CIFAR100 gives them."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=PRESET.data.padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(PRESET.data.mean, PRESET.data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = to_pil_image(self.images.images[index].numpy())
        return self.transform(image), int(self.images.targets[index])


def forever(epochs: Callable[[], Iterator[object]]) -> Iterator[object]:
    """Epoch after epoch."""
    while True:
        yield from epochs()


def plain_step(images: ImageSet, device: torch.device) -> Step:
    """One step of the plain loop, each time it is called."""
    teacher = create_model("resnet32x4").to(device).eval()
    student = create_model("resnet8x4").to(device)
    settings = PRESET.optimizer
    optimizer = torch.optim.SGD(
        student.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
    )
    loader = DataLoader(PillowImages(images), PRESET.data.batch_size, shuffle=True)
    batches = forever(lambda: iter(loader))
    losses = []

    def step() -> None:
        batch = next(batches)
        assert isinstance(batch, list)
        inputs, target = batch[0].to(device), batch[1].to(device)
        student.train()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        logits = student(inputs)
        soft_teacher = F.softmax(teacher_logits / 4, dim=1)
        distilled = F.kl_div(F.log_softmax(logits / 4, dim=1), soft_teacher, reduction="batchmean")
        loss = 0.1 * F.cross_entropy(logits, target) + 0.9 * 16 * distilled
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())

    return step


def engine_step(images: ImageSet, device: torch.device) -> Step:
    """One step of the engine, each time it is called."""
    compute = resolve_compute(str(device))
    arm = Arm(PRESET, compute)
    teacher = Teacher(create_model("resnet32x4"), compute, needs_features=False)
    loader = Loader(images.to(compute.device), PRESET.data)
    execute = execution(compute, print)
    arm.begin_epoch()
    draws = loader.draws(1, arm.distiller.views)
    take = partial(take_steps, loader, teacher, [arm], execute)
    starts = forever(lambda: iter(range(0, loader.steps - execute.ahead, execute.ahead)))

    def step() -> None:
        start = next(starts)
        assert isinstance(start, int)
        execute("step", take, rows(draws, loader.part(start, execute.ahead)))

    return step


VARIANTS = {"plain": plain_step, "engine": engine_step}


def measure(rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds a step of each variant, one value a round, turns taken."""
    device = resolve_compute().device
    images = random_images()
    variants = {name: make(images, device) for name, make in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, step in variants.items():
            began = time.perf_counter()
            for _ in range(steps):
                step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number > 0:  # the first round warms up
                seconds[name].append((time.perf_counter() - began) / steps)
    return seconds


def peak_memory(name: str) -> float:
    """Peak resident memory (MiB) of a process that runs one variant."""
    command = [sys.executable, __file__, "--memory-of", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4, help="of each variant in a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        step = VARIANTS[options.memory_of](random_images(), resolve_compute().device)
        for _ in range(5):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    # Memory first: Linux hands the peak of a process on to those that it starts.
    memory = {name: peak_memory(name) for name in VARIANTS}
    seconds = measure(options.rounds, options.steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["plain"] / medians["engine"]
    compute = resolve_compute()
    if options.json:
        print(json.dumps({"seconds": seconds, "memory_mib": memory, "ratio": ratio}))
        return
    print(
        f"kd, resnet32x4 -> resnet8x4, batch {PRESET.data.batch_size}, {compute.device}; "
        f"engine in {compute.precision}; torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, {torch.get_num_threads()} threads"
    )
    for name, median in medians.items():
        low, high = min(seconds[name]), max(seconds[name])
        print(
            f"{name:7} {PRESET.data.batch_size / median:7.1f} images/s  {1000 * median:7.1f} ms a "
            f"step ({1000 * low:.1f} to {1000 * high:.1f})  peak {memory[name]:.0f} MiB"
        )
    print(f"ratio   {ratio:7.2f} times the images per second of the plain loop")


if __name__ == "__main__":
    main()
