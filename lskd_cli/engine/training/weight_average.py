"""Exponential moving average of the weights of a student."""

from copy import deepcopy

import torch
from torch import Tensor

from lskd_cli.models import Network


class WeightAverage:
    """A copy of a network whose saved parameters and buffers follow those of the original.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ``ExponentialMovingAverage``, so that a short training does not average its initial weights.
    Unlike in timm's ``ModelEmaV3``, the decay is computed on the device: a captured step can change
    it.

    Attributes:
        network: the averaged network.
        num_updates: scalar tensor on the device.
    """

    def __init__(self, network: Network, decay: float, device: torch.device) -> None:
        """Start from the current weights of a network on a device."""
        self.network = deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.num_updates = torch.zeros((), device=device)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move the averaged weights towards those of a network, in place."""
        self.num_updates += 1
        decay = ((1 + self.num_updates) / (10 + self.num_updates)).clamp(max=self.decay)
        for mean, value in zip(self._tensors(self.network), self._tensors(network), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def tensors(self) -> list[Tensor]:
        """The averaged parameters and buffers."""
        return self._tensors(self.network)

    def state_dict(self) -> dict[str, object]:
        """The averaged weights and the number of updates."""
        return {"network": self.network.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore a state."""
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
        self.num_updates.copy_(state["num_updates"])  # type: ignore[arg-type]

    @staticmethod
    def _tensors(network: Network) -> list[Tensor]:
        # Without buffers that are not saved, whose shape may depend on the first images.
        return list(network.state_dict(keep_vars=True).values())
