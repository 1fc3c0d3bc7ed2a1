"""Checks of a preset before its training: whether its networks fit, and one training step."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from lskd_cli.config import Preset, load_preset
from lskd_cli.data import InMemoryImages, Loader, create_loader
from lskd_cli.distillers import method_source, takes_spec
from lskd_cli.engine.devices.cuda_graphs import WARMUP_RUNS, EagerRunner, create_runner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.training.ensemble import EnsembleNetwork
from lskd_cli.engine.training.initial_weights import load_initial_weights
from lskd_cli.engine.training.joint_step import (
    create_joint_step,
    student_views,
    without_unsafe_graphs,
)
from lskd_cli.engine.training.student_trainer import (
    StudentTrainer,
    create_seeded_distiller,
    create_student,
)
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.errors import RequestError, first_line
from lskd_cli.models import (
    Network,
    check_custom_model,
    create_model,
    is_model,
    split_external,
    suggest_models,
    teacher_image_size,
)

_IMAGES = 4  # of each process in the training step
# Parts of PyTorch's messages about maps that are smaller than a kernel.
_TOO_SMALL = ("too small", "Kernel size can't be greater", "kernel size can't be greater")


def check_networks(presets: Sequence[Preset]) -> None:
    """Check that all teachers and students exist and fit their presets.

    Raises:
        RequestError: a network does not exist (one line each, with the nearest names), does not
            support the image size, or lacks features that the method uses.
    """
    problems = {
        f"preset {preset.name}: {key}: unknown model {name!r}; {suggest_models(name)}"
        for preset in presets
        for key, names in (("teacher", preset.teacher_names), ("student", [preset.student]))
        for name in names
        if not is_model(name)
    }
    if problems:
        raise RequestError("\n".join(sorted(problems)))
    with torch.device("meta"):
        for preset in presets:
            try:
                student = create_student(preset)
                check_custom_model(preset.student, student, preset.data.class_count)
                _check_image_size(preset, student)
                # A plug-in method may read values, which meta tensors do not have.
                with torch.device("cpu" if method_source(preset) else "meta"):
                    teacher = _untrained_teacher(preset) if takes_spec(preset) else None
                    create_seeded_distiller(preset, teacher, torch.arange(2))
            except RequestError as error:
                raise RequestError(f"preset {preset.name}: {error}") from None


def _check_image_size(preset: Preset, student: Network) -> None:
    """Check that images are not smaller than the layers of a network of a library can take."""
    if not split_external(preset.student)[0]:
        return
    size = preset.data.image_size
    try:
        student.eval()(torch.zeros(1, 3, size, size, device="meta"))
    except RuntimeError as error:
        # Other errors can be those of an operation that meta tensors do not support.
        if any(text in str(error) for text in _TOO_SMALL):
            raise RequestError(
                f"data.image_size: {preset.student} does not take images of {size} pixels "
                f"({first_line(error)}); use --set data.image_size=LARGER"
            ) from None
    finally:
        student.train()


def dry_run(preset: Preset, runtime: Runtime) -> dict[str, float]:
    """Run one training step on random images with an untrained teacher; write nothing.

    Returns:
        The losses by name.

    Raises:
        RequestError: the preset names a network that does not exist.
        RunError: a loss is not finite.
    """
    check_networks([preset])
    count = _IMAGES * runtime.process_group.world_size
    with runtime.precision_context():
        loader, teacher, (student,) = first_epoch([preset], runtime, count)
        EagerRunner(1).run(create_joint_step(loader, teacher, [student]), loader.batch_spec(0, 1))
    student.meters.check_finite(preset.run_path, epoch=1)
    return student.meters.means()


def graphs_self_test(runtime: Runtime) -> list[str]:
    """Capture training steps on random images as CUDA graphs, and compare them with eager ones.

    Returns:
        The warnings of the comparison; none if the captured steps are right.
    """
    preset = load_preset("kd-digits")
    warnings: list[str] = []
    # The first captured launch is compared with an eager one.
    *_, (_, (student,)) = run_launches([preset], runtime, WARMUP_RUNS + 2, warnings.append)
    student.meters.check_finite(preset.run_path, epoch=1)
    return warnings


def run_launches(
    presets: Sequence[Preset], runtime: Runtime, num_launches: int, warn: Warn
) -> Iterator[tuple[int, list[StudentTrainer]]]:
    """Run launches of a joint run on random images.

    Args:
        presets: presets with the same data and teacher; those with a teacher come first.
        runtime: device, precision and process group.
        num_launches: largest number of launches.
        warn: called if a capture fails, or a captured step is wrong.

    Yields:
        After each launch, the number of its steps, and the students.
    """
    runner = create_runner(runtime, warn)
    size = presets[0].data.batch_size * runner.steps_per_launch
    with runtime.precision_context():
        loader, teacher, students = first_epoch(presets, runtime, num_launches * size)
        safe = without_unsafe_graphs(runtime, students, warn)
        runner = runner if safe is runtime else create_runner(safe, warn)
        steps = runner.steps_per_launch if loader.supports_several_steps else 1
        for number in range(num_launches):
            spec = loader.batch_spec(number * steps, steps)
            runner.run(create_joint_step(loader, teacher, students), spec)
            for student in students:
                student.advance_step(steps)
            yield steps, students


def first_epoch(
    presets: Sequence[Preset], runtime: Runtime, num_images: int
) -> tuple[Loader, Teacher | None, list[StudentTrainer]]:
    """Random images, an untrained teacher, and the students of a joint run in their first epoch.

    Args:
        presets: presets with the same data and teacher; those with a teacher come first.
        runtime: device, precision and process group.
        num_images: number of random images.

    Returns:
        The loader of the images, the teacher, and the students.
    """
    data = presets[0].data
    size = data.image_size
    generator = torch.Generator().manual_seed(presets[0].seed)
    shape = (num_images, size, size, 3)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    targets = torch.arange(num_images) % data.class_count
    images = InMemoryImages(pixels, targets).to(runtime.device)
    shard = replace(runtime.process_group.shard, num_workers=1)
    data = data.model_copy(update={"batch_size": min(data.batch_size, num_images)})
    loader = create_loader(images, data, shard)
    network = _untrained_teacher(presets[0])
    students = [
        StudentTrainer(
            preset,
            runtime,
            network if preset.teacher else None,
            images.targets,
            load_initial_weights(preset),
        )
        for preset in presets
    ]
    views = student_views(students)
    teacher = None
    if network is not None:
        features = {item for s in students for item in s.distiller.required_features}
        teacher = Teacher(network, runtime, features)
    for student in students:
        student.start_epoch()
    loader.start_epoch(1, views, 0)
    return loader, teacher, students


def _untrained_teacher(preset: Preset) -> Network | None:
    if preset.teacher is None:
        return None
    networks = []
    for name in preset.teacher_names:
        size = teacher_image_size(name, preset.data.image_size)
        networks.append(create_model(name, preset.data.class_count, size))
    if len(networks) == 1:
        return networks[0]
    adapters = [ViewAdapter(network.image_size) for network in networks]
    return EnsembleNetwork(networks, adapters, preset.data.image_size)
