"""What the benchmarks share: images, the plain loop, the engine, timing by turns."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from lskd_cli.config import Preset, load_preset
from lskd_cli.data import CropLoader, ImageSet, rows
from lskd_cli.distillers import Step, create_distiller
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import Compute
from lskd_cli.engine.replay import execution
from lskd_cli.engine.step import KNOWN, take_steps, union
from lskd_cli.engine.teacher import Teacher
from lskd_cli.engine.teacher_cache import TeacherCache
from lskd_cli.models import Output, create_model

HEADLINE = load_preset("kd-r32x4-r8x4")
STEPS_OF_AN_EPOCH = 782  # of CIFAR-100 in batches of 64
IMAGES = 6400  # an eighth of CIFAR-100: enough batches, little set-up
Action = Callable[[], object]


def machine(compute: Compute) -> str:
    """What the figures were measured on."""
    cuda = compute.device.type == "cuda"
    name = torch.cuda.get_device_name(compute.device) if cuda else "CPU"
    return (
        f"{name}, {torch.get_num_threads()} threads; engine in {compute.precision}; "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )


def random_images(count: int = IMAGES) -> ImageSet:
    """Noise: what the pixels are does not change what a step costs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(0, 100, (count,), generator=generator))


class _PillowImages(Dataset[tuple[list[Tensor], int]]):
    """Images one by one through torchvision's transforms, as its own CIFAR100 gives them."""

    def __init__(self, images: ImageSet, preset: Preset, views: int) -> None:
        self.images = images
        self.views = views
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=preset.data.padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(preset.data.mean, preset.data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        image = to_pil_image(self.images.images[index].numpy())
        return [self.transform(image) for _ in range(self.views)], int(self.images.targets[index])


def plain_step(preset: Preset, images: ImageSet, device: torch.device) -> Action:
    """A step of the loop that a tutorial writes, each time it is called.

    A DataLoader over Pillow transforms, float32, the loss read with .item() in every step. The
    second view of mlkd is another crop here, without its strong operations.
    """
    assert preset.teacher is not None
    teacher, student = create_model(preset.teacher).to(device).eval(), create_model(preset.student)
    student.to(device).train()
    distiller = create_distiller(preset).to(device)
    settings = preset.optimizer
    optimizer = torch.optim.SGD(
        [*student.parameters(), *distiller.parameters()],
        settings.lr,
        settings.momentum,
        weight_decay=settings.weight_decay,
    )
    views = distiller.views
    dataset = _PillowImages(images, preset, len(views))
    loader = DataLoader(dataset, preset.data.batch_size, shuffle=True, drop_last=True)
    batches = _forever(loader)
    epoch = torch.tensor(1.0, device=device)
    losses = []

    def step() -> None:
        inputs, target = next(batches)
        inputs, target = [view.to(device) for view in inputs], target.to(device)
        with torch.no_grad():
            taught = [Output(teacher(view)) for view in inputs]
        learnt = [Output(student(view)) for view in inputs]
        parts = distiller.losses(
            Step(
                dict(zip(views, learnt, strict=True)),
                dict(zip(views, taught, strict=True)),
                target,
                epoch,
                torch.arange(len(target), device=device),
            )
        )
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())

    return step


def engine_step(
    presets: Sequence[Preset], images: ImageSet, compute: Compute, cache: Path | None = None
) -> tuple[Action, int]:
    """What the engine does at once, each time it is called, and how many steps that is.

    Args:
        presets: of the arms.
        images: on the CPU.
        compute: device and precision.
        cache: a file for the teacher's logits; it is filled before this returns.
    """
    preset = presets[0]
    assert preset.teacher is not None
    network = create_model(preset.teacher)
    arms = [Arm(one, compute, network, images.targets) for one in presets]
    reads = {field for arm in arms for field in arm.distiller.reads}
    teacher = Teacher(network, compute, reads)
    loader = CropLoader(images.to(compute.device), preset.data)
    execute = execution(compute, print)
    if compute.compiled:
        teacher.compile(execute.ahead * preset.data.batch_size, print)
    for arm in arms:
        arm.begin_epoch()
        if compute.compiled:
            arm.compile(print)
    draws = loader.draws(1, union(arm.distiller.views for arm in arms))
    take = partial(take_steps, loader, teacher, arms, execute)
    parts = [
        rows(draws, loader.part(start, execute.ahead))
        for start in range(0, len(images) // preset.data.batch_size, execute.ahead)
    ]
    kept = TeacherCache(cache, teacher, preset, len(images)) if cache else None
    if kept:
        for part in parts:
            kept(loader, part)
    turns = _forever(parts)

    def step() -> None:
        inputs = dict(next(turns))
        if kept:
            inputs[KNOWN + "weak"] = kept(loader, inputs)
        execute("steps", take, inputs)

    return step, execute.ahead


def by_turns(
    actions: Mapping[str, Action], rounds: int, device: torch.device, steps: int = 1
) -> dict[str, list[float]]:
    """Seconds a call of each action, one value a round: a slow moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            began = time.perf_counter()
            for _ in range(steps):
                action()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number > 0:  # the first round warms up
                seconds[name].append((time.perf_counter() - began) / steps)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def _forever(batches: "DataLoader[tuple[list[Tensor], int]] | list[dict[str, Tensor]]") -> Iterator:  # type: ignore[type-arg]
    while True:
        yield from batches
