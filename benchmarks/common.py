"""Images, the plain loop, a step of the engine, and interleaved timing for all benchmarks."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from lskd_cli.config import Preset, load_preset
from lskd_cli.data import CropLoader, InMemoryImages
from lskd_cli.distillers import StepInputs, create_distiller
from lskd_cli.engine.devices.cuda_graphs import WARMUP_RUNS, create_runner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.joint_step import create_joint_step, student_views
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.teacher_cache import TeacherCache
from lskd_cli.models import Output, create_model

HEADLINE = load_preset("kd-r32x4-r8x4")
STEPS_PER_EPOCH = 782  # on CIFAR-100 with batches of 64
_TUNED_BATCHES = 10  # that the tuned loop has ready
IMAGES = 6400  # an eighth of CIFAR-100, so that the setup is short
Action = Callable[[], object]


def machine(runtime: Runtime) -> str:
    """Description of the machine, the precision and the versions."""
    cuda = runtime.device.type == "cuda"
    name = torch.cuda.get_device_name(runtime.device) if cuda else "CPU"
    return (
        f"{name}, {torch.get_num_threads()} threads; engine in {runtime.precision}; "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )


def random_images(count: int = IMAGES) -> InMemoryImages:
    """Random images; the time of a step does not depend on the pixels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return InMemoryImages(pixels, torch.randint(0, 100, (count,), generator=generator))


class _PillowImages(Dataset[tuple[list[Tensor], int]]):
    """Single images with the transforms of torchvision, like its CIFAR100 data set."""

    def __init__(self, images: InMemoryImages, preset: Preset, views: int) -> None:
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


def plain_step(preset: Preset, images: InMemoryImages, device: torch.device) -> Action:
    """One step of a training loop as tutorials write it.

    It uses a DataLoader with Pillow transforms and float32, and reads the loss with ``.item()`` in
    every step. The second view of mlkd is another crop without strong augmentation.
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
    batches = _repeat(loader)
    epoch = torch.tensor(1.0, device=device)
    losses = []

    def step() -> None:
        inputs, target = next(batches)
        inputs, target = [view.to(device) for view in inputs], target.to(device)
        with torch.no_grad():
            teacher_outputs = [Output(teacher(view)) for view in inputs]
        student_outputs = [Output(student(view)) for view in inputs]
        terms = distiller.losses(
            StepInputs(
                dict(zip(views, student_outputs, strict=True)),
                dict(zip(views, teacher_outputs, strict=True)),
                target,
                epoch,
                torch.arange(len(target), device=device),
            )
        )
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())

    return step


def tuned_step(preset: Preset, images: InMemoryImages, runtime: Runtime) -> Action:
    """One step of a loop that is written for speed: timm's distillation task.

    It uses the precision of the runtime, channels last, and batches that are ready in memory,
    without augmentation; the loss is not read.
    """
    from timm.task import LogitDistillationTask

    assert preset.teacher is not None
    device, method = runtime.device, preset.method.model_dump()
    teacher, student = (
        create_model(name).to(device).to(memory_format=torch.channels_last)
        for name in (preset.teacher, preset.student)
    )
    student.train()
    for network in (teacher, student):  # what timm reads
        normalization = {"mean": preset.data.mean, "std": preset.data.std}
        for name, value in (
            ("num_classes", preset.data.class_count),
            ("in_chans", 3),
            ("pretrained_cfg", normalization),
        ):
            setattr(network, name, value)
    task = LogitDistillationTask(
        student,
        teacher,
        torch.nn.CrossEntropyLoss(),
        distill_loss_weight=method["kd_weight"],
        task_loss_weight=method["ce_weight"],
        temperature=method["temperature"],
        device=device,
        verbose=False,
    )
    settings = preset.optimizer
    optimizer = torch.optim.SGD(
        student.parameters(),
        settings.lr,
        settings.momentum,
        weight_decay=settings.weight_decay,
        foreach=True,
    )
    size = preset.data.batch_size
    pixels = images.images[: size * _TUNED_BATCHES].permute(0, 3, 1, 2).float() / 255
    views = torch.split(pixels.to(device, memory_format=torch.channels_last), size)
    targets = torch.split(images.targets[: size * _TUNED_BATCHES].to(device), size)
    batches = cycle(zip(views, targets, strict=True))

    def step() -> None:
        inputs, target = next(batches)
        with torch.autocast(device.type, torch.bfloat16, enabled=runtime.precision == "bf16"):
            loss = task(inputs, target)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def engine_step(
    presets: Sequence[Preset],
    images: InMemoryImages,
    runtime: Runtime,
    cache_path: Path | None = None,
) -> tuple[Action, int]:
    """One launch of the engine, and the number of steps that it contains.

    Args:
        presets: presets of the students that are trained together.
        images: training images on the CPU.
        runtime: device and precision.
        cache_path: path of a cache of the teacher's logits, which is filled before this returns.
    """
    preset = presets[0]
    assert preset.teacher is not None
    network = create_model(preset.teacher)
    students = [StudentTrainer(one, runtime, network, images.targets) for one in presets]
    features = {name for student in students for name in student.distiller.required_features}
    teacher = Teacher(network, runtime, features)
    loader = CropLoader(images.to(runtime.device), preset.data)
    runner = create_runner(runtime, print)
    steps = runner.steps_per_launch
    if runtime.compiled:
        teacher.compile(steps * preset.data.batch_size, print)
    for student in students:
        student.start_epoch()
        if runtime.compiled:
            student.compile(print)
    loader.start_epoch(1, student_views(students), 0)
    starts = range(0, loader.num_steps - steps + 1, steps)
    specs = [loader.batch_spec(start, steps) for start in starts]
    cache = TeacherCache(cache_path, teacher, loader) if cache_path else None
    if cache:
        cache.start_epoch()
        for start in starts:
            cache(start, steps)
    remaining = cycle(zip(starts, specs, strict=True))

    def step() -> None:
        start, spec = next(remaining)
        if cache:
            if start == 0:
                cache.start_epoch()
            spec = replace(spec, weak_logits=cache(start, steps))
        runner.run(create_joint_step(loader, teacher, students), spec)

    return step, steps


def interleaved_times(
    actions: Mapping[str, Action], rounds: int, runtime: Runtime, steps: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of each action, one value per round, in the precision of the runtime.

    The actions alternate, so that a slow phase of the machine affects all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    with runtime.precision_context():
        # Graphs are captured after several calls.
        for action in actions.values() if runtime.graphs else ():
            for _ in range(WARMUP_RUNS + 1):
                action()
        for number in range(rounds + 1):
            for name, action in actions.items():
                began = time.perf_counter()
                for _ in range(steps):
                    action()
                runtime.synchronize()
                if number > 0:  # the first round warms up
                    seconds[name].append((time.perf_counter() - began) / steps)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each list."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def _repeat(
    loader: "DataLoader[tuple[list[Tensor], int]]",
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Batches of one epoch after the other; ``cycle`` would keep those of the first epoch."""
    while True:
        yield from loader
