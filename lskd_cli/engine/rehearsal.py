"""What can be seen of a preset before its training: whether its networks fit, and one step."""

from collections.abc import Sequence

import torch

from lskd_cli.config import Preset
from lskd_cli.data import ImageSet, Share, create_loader, num_classes
from lskd_cli.distillers import method_source, reads_features
from lskd_cli.engine.arm import Arm, initial_distiller, initial_student
from lskd_cli.engine.device import Compute
from lskd_cli.engine.replay import Eager
from lskd_cli.engine.step import take_steps
from lskd_cli.engine.teacher import Teacher
from lskd_cli.errors import RequestError
from lskd_cli.models import Network, create_model, is_model, nearest_models, teacher_size


def check_networks(presets: Sequence[Preset]) -> None:
    """See that every teacher and student is a network, and fits its preset.

    Raises:
        RequestError: some are not; one line each, with the nearest that is. Or one is not made for
            such images, or lacks what the method reads.
    """
    problems = {
        f"preset {preset.name}: {key}: unknown model {name!r}; {nearest_models(name)}"
        for preset in presets
        for key, name in (("teacher", preset.teacher), ("student", preset.student))
        if name is not None and not is_model(name)
    }
    if problems:
        raise RequestError("\n".join(sorted(problems)))
    with torch.device("meta"):
        for preset in presets:
            try:
                initial_student(preset)
                # A method of the user's may look at values, which nothing here has.
                with torch.device("cpu" if method_source(preset) else "meta"):
                    teacher = _teacher(preset) if reads_features(preset) else None
                    initial_distiller(preset, teacher, torch.arange(2))
            except RequestError as error:
                raise RequestError(f"preset {preset.name}: {error}") from None


def rehearse(preset: Preset, compute: Compute) -> dict[str, float]:
    """One training step on random images with an untrained teacher; writes nothing.

    Returns:
        The parts of the loss.

    Raises:
        RequestError: the preset names a network that does not exist.
        RunError: a loss is not finite.
    """
    check_networks([preset])
    classes = num_classes(preset.data)
    generator = torch.Generator().manual_seed(preset.seed)
    images = torch.randint(0, 256, (4, 32, 32, 3), generator=generator, dtype=torch.uint8)
    # A whole batch, of four images.
    data = preset.data.model_copy(update={"batch_size": len(images)})
    images_of_classes = ImageSet(images, torch.arange(4) % classes).to(compute.device)
    loader = create_loader(images_of_classes, data, Share(workers=1))
    network = _teacher(preset)
    arm = Arm(preset, compute, network, images_of_classes.targets)
    teacher = Teacher(network, compute, arm.distiller.reads) if network else None
    arm.begin_epoch()
    draw = loader.epoch(1, arm.distiller.views, 0)
    take_steps(loader, teacher, [arm], Eager(ahead=1), draw(0, 1))
    return arm.meters.read(epoch=1)


def _teacher(preset: Preset) -> Network | None:
    """An untrained one."""
    if preset.teacher is None:
        return None
    size = teacher_size(preset.teacher, preset.data.image_size)
    return create_model(preset.teacher, num_classes(preset.data), size)
