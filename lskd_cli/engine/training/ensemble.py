"""Several teachers of one student: their networks as one, and how a loss uses their logits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import Preset
from lskd_cli.distillers import Distiller, StepInputs
from lskd_cli.distillers.base import at_least_float32
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.models import Network, Output
from lskd_cli.zscore import standardize


@dataclass
class TeacherEnsemble:
    """Several teachers with their weights, in the order of the preset.

    Attributes:
        members: the teachers.
    """

    members: list[TrainedNetwork]

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """All files as one, whose digest is that of their digests; it contains no weights."""
        checkpoints = [member.checkpoint for member in self.members]
        digest = sha256("".join(one.sha256 for one in checkpoints).encode()).hexdigest()
        path = Path(" + ".join(str(one.path) for one in checkpoints))
        return Checkpoint(path, {}, {}, digest)


Teachers = TrainedNetwork | TeacherEnsemble


class EnsembleNetwork(Network):
    """Networks that see the same views; the logits are those of all of them, side by side."""

    can_fuse_bn = False

    def __init__(
        self,
        networks: Sequence[Network],
        adapters: Sequence[Callable[[Tensor], Tensor]],
        image_size: int,
    ) -> None:
        """Combine networks.

        Args:
            networks: the networks.
            adapters: convert the views of a batch into the images of each network.
            image_size: size of the views in pixels.
        """
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.adapters = adapters
        self.image_size = image_size

    def forward_features(self, images: Tensor) -> Output:
        """(B, K * C) logits of K networks."""
        logits = [
            network(adapt(images))
            for network, adapt in zip(self.networks, self.adapters, strict=True)
        ]
        return Output(torch.cat(logits, dim=1))


class EnsembleLoss:
    """The losses of a method with several teachers."""

    def __init__(self, preset: Preset, distiller: Distiller) -> None:
        """Prepare the losses of a method of logits.

        Args:
            preset: has several teachers.
            distiller: the method.
        """
        self.distiller = distiller
        weights = preset.teacher_weights
        self.weights = [weight / sum(weights) for weight in weights]
        self.separate = preset.teachers is not None and preset.teachers.combine == "losses"
        self.temperature = float(getattr(preset.effective_method(), "temperature", 1.0))

    def __call__(self, inputs: StepInputs) -> dict[str, Tensor]:
        """Losses by name; the teacher's logits in the inputs are (B, K * C)."""
        teachers = {
            view: torch.unflatten(at_least_float32(output.logits), 1, (len(self.weights), -1))
            for view, output in inputs.teacher.items()
        }
        if not self.separate:
            averaged = {view: Output(self._average(logits)) for view, logits in teachers.items()}
            return self.distiller.losses(replace(inputs, teacher=averaged))
        losses: dict[str, Tensor] = {}
        for number, weight in enumerate(self.weights):
            own = {view: Output(logits[:, number]) for view, logits in teachers.items()}
            for name, loss in self.distiller.losses(replace(inputs, teacher=own)).items():
                losses[name] = losses.get(name, 0) + weight * loss
        return losses

    def _average(self, logits: Tensor) -> Tensor:
        """(B, C) logits of which the method computes the average of (B, K, C) logits.

        They are the weighted mean of the standardized logits, times that of the standard
        deviations, since some methods also use plain logits; or T * log of the weighted mean of the
        softmax outputs at the temperature T of the method, whose softmax at T is this mean.
        """
        if self.distiller.standardized:
            means = [w * standardize(logits[:, k]) for k, w in enumerate(self.weights)]
            deviations = [w * logits[:, k].std(dim=1) for k, w in enumerate(self.weights)]
            scale = torch.stack(deviations).sum(dim=0)[:, None]
            return torch.stack(means).sum(dim=0) * scale
        shifted = [
            F.log_softmax(logits[:, k] / self.temperature, dim=1) + math.log(weight)
            for k, weight in enumerate(self.weights)
        ]
        return self.temperature * torch.stack(shifted).logsumexp(dim=0)
