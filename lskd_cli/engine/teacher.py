"""The frozen network that students learn from, and where its weights are."""

from collections.abc import Callable, Collection, Mapping
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
from lskd_cli.models import Network, Output, Transformer
from lskd_cli.view import View


class Teacher:
    """Outputs of the views of a batch: evaluation mode, no gradient, once for all arms."""

    def __init__(self, network: Network, compute: Compute, needs_features: bool) -> None:
        network.eval().requires_grad_(False)
        # Batch norms folded into convolutions: the same function in fewer passes over memory. The
        # folded network gives logits alone.
        is_foldable = not needs_features and not isinstance(network, Transformer)
        folded: nn.Module = fuse(network) if is_foldable else network
        compute.place(folded)
        self.image_size = network.image_size
        self.forward: Callable[[Tensor], Output] = (
            network.forward_features if needs_features else lambda images: Output(folded(images))
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

    They come from ``checkpoints/NAME.safetensors``, or from the last epoch of a finished run of a
    teacher preset (not its best epoch, which was chosen on test images).

    Raises:
        RequestError: there are none; says how to fetch or train them.
    """
    assert preset.teacher is not None
    classes = num_classes(preset.data.name)
    path = checkpoints / f"{preset.teacher}.safetensors"
    if path.exists():
        checkpoint = load_checkpoint(path)
        if checkpoint.metadata.get("dataset", preset.data.name) == preset.data.name:
            return checkpoint
    for folder in list_runs(runs, "teacher-*"):
        # One that is damaged may be another teacher's; if it is ours, none is found below.
        with suppress(RequestError):
            if RunFolder(folder).finished:
                checkpoint = load_checkpoint(folder / STUDENT)
                found = (checkpoint.metadata.get("model"), checkpoint.metadata.get("dataset"))
                if found == (preset.teacher, preset.data.name):
                    return checkpoint
    trainers = [
        load_preset(name)
        for name in list_networks()
        if name.startswith("teacher-") and _trains(name, preset)
    ]
    training = [f"'lskd train --preset {trainer.name}'" for trainer in trainers]
    is_published = any(trainer.published.top1 for trainer in trainers)
    fetching = [f"'lskd fetch-teachers {preset.teacher}'"] if is_published else []
    raise RequestError(
        f"teacher {preset.teacher} ({classes} classes) is neither in {checkpoints} nor a finished "
        f"teacher-* run in {runs}; "
        f"{' or '.join([*fetching, *training, '--teacher-checkpoint FILE'])}"
    )


def _trains(name: str, preset: Preset) -> bool:
    other = load_preset(name)
    return (other.student, other.data.name) == (preset.teacher, preset.data.name)
