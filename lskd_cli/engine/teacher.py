"""The frozen network that students learn from, and where its weights are."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from lskd_cli.checkpoints import Checkpoint, load_checkpoint
from lskd_cli.config import Preset, list_networks, load_preset
from lskd_cli.data import num_classes
from lskd_cli.engine.compiled import Compiled, Notify
from lskd_cli.engine.device import Compute
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.errors import RequestError
from lskd_cli.layout import STUDENT, list_runs
from lskd_cli.models import Network, Output, teacher_size
from lskd_cli.view import View


class Teacher:
    """Outputs of the views of a batch: evaluation mode, no gradient, once for all arms."""

    def __init__(self, network: Network, compute: Compute, reads: Collection[str] = ()) -> None:
        """Take a network, which is changed.

        Args:
            network: with its weights.
            compute: where it runs.
            reads: fields of ``Output`` that students' methods read besides the logits.
        """
        network.eval().requires_grad_(False)
        # Batch norms folded into convolutions: the same function in fewer passes over memory. The
        # folded network gives logits alone.
        is_foldable = network.foldable and not reads
        folded: nn.Module = fuse(network) if is_foldable else network
        compute.place(folded)
        self.image_size = network.image_size
        self.forward: Callable[[Tensor], Output] = (
            (lambda images: network.forward_features(images).only(reads))
            if reads
            else lambda images: Output(folded(images))
        )
        self.compute = compute

    def compile(self, size: int, notify: Notify) -> None:
        """Run compiled on so many images a time; ``notify`` is told where that fails."""
        # Weights that never change are laid out for the kernels, once.
        self.forward = Compiled(self.forward, size, notify, {"freezing": True})

    @torch.no_grad()
    def __call__(
        self, views: Mapping[View, Tensor], wanted: Collection[View]
    ) -> dict[View, Output]:
        """Outputs of the wanted views, (B, 3, S, S) each; brought to the size that it is made for.

        Bilinearly, and without a filter against aliasing, as the published rows were run.
        """
        size = (self.image_size, self.image_size)
        outputs = {}
        for view in wanted:
            images = views[view]
            if images.shape[2:] != size:
                images = F.interpolate(images, size, mode="bilinear", align_corners=False)
            with self.compute.autocast():
                outputs[view] = self.forward(images)
        return outputs


def find_teacher(preset: Preset, checkpoints: Path, runs: Path) -> Checkpoint:
    """The weights of a preset's teacher.

    They come from ``checkpoints/NAME.safetensors`` or ``checkpoints/DATA-NAME.safetensors``, or
    from the last epoch of a finished run of a teacher preset (not its best epoch, which was chosen
    on test images).

    Raises:
        RequestError: there are none; says how to fetch or train them.
    """
    assert preset.teacher is not None
    data, classes = preset.data.name, num_classes(preset.data)
    name = preset.teacher.replace("/", "-")
    for path in (checkpoints / f"{name}.safetensors", checkpoints / f"{data}-{name}.safetensors"):
        if path.exists():
            checkpoint = load_checkpoint(path)
            if checkpoint.metadata.get("dataset", data) == data:
                return checkpoint
    for folder in list_runs(runs, "teacher-*"):
        # One that is damaged may be another teacher's; if it is ours, none is found below.
        with suppress(RequestError):
            if RunFolder(folder).finished:
                checkpoint = load_checkpoint(folder / STUDENT)
                wanted = {"model": preset.teacher, "dataset": data, "num_classes": str(classes)}
                if wanted.items() <= checkpoint.metadata.items():
                    return checkpoint
    trainers = [
        load_preset(name)
        for name in list_networks()
        if name.startswith("teacher-") and _trains(name, preset)
    ]
    own = " --dataset imagefolder" if data == "imagefolder" else ""
    training = [f"'lskd train --preset {trainer.name}{own}'" for trainer in trainers]
    is_published = not own and any(trainer.published.top1 for trainer in trainers)
    fetching = [f"'lskd fetch-teachers {preset.teacher}'"] if is_published else []
    raise RequestError(
        f"teacher {preset.teacher} ({classes} classes) is neither in {checkpoints} nor a finished "
        f"teacher-* run in {runs}; "
        f"{' or '.join([*fetching, *training, '--teacher-checkpoint FILE'])}"
    )


def _trains(name: str, preset: Preset) -> bool:
    other = load_preset(name)
    is_like = other.data.on_disk if preset.data.on_disk else other.data.name == preset.data.name
    return is_like and other.student == preset.teacher


def check_classes(weights: Checkpoint, classes: Sequence[str]) -> None:
    """See that weights were trained on the classes of images in folders, if they name theirs.

    Raises:
        RequestError: they were trained on others; names the first.
    """
    there = json.loads(weights.metadata.get("classes", "[]"))
    for of_weights, of_images in zip(there, classes, strict=False):
        if of_weights != of_images:
            raise RequestError(
                f"{weights.path}: trained on other classes: {of_weights!r} where --data-dir has "
                f"{of_images!r}"
            )


def teacher_network(source: Checkpoint, preset: Preset) -> Network:
    """The teacher of a preset with its weights, for images of the size that it is shown.

    Raises:
        RequestError: the weights are another network's or another number of classes'.
    """
    assert preset.teacher is not None
    size = teacher_size(preset.teacher, preset.data.image_size)
    return source.network(preset.teacher, num_classes(preset.data), size)
