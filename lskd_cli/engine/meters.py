"""Sums of an epoch, kept on the device and read at its end."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lskd_cli.errors import RunError


class Meters:
    """Mean losses and training accuracy of an epoch so far, and its first non-finite loss."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.names: list[str] = []
        self.reset()

    def reset(self) -> None:
        """Start an epoch."""
        size = len(self.names) + 1
        self.images = 0
        # The loss parts, then the number of right answers.
        self.sums = torch.zeros(size, dtype=torch.float64, device=self.device)
        self.bad_step = torch.tensor(-1, device=self.device)
        self.bad_parts = torch.zeros(size - 1, dtype=torch.float64, device=self.device)

    @torch.no_grad()
    def update(
        self, losses: Mapping[str, Tensor], logits: Tensor, target: Tensor, step: int
    ) -> None:
        """Add a step (from 0): scalar losses by name, (B, C) logits and (B,) classes."""
        if list(losses) != self.names:
            self.names = list(losses)
            self.reset()
        parts = torch.stack([loss.detach().double() for loss in losses.values()])
        right = (logits.argmax(dim=1) == target).sum()
        self.sums += torch.cat([parts * len(target), right[None].double()])
        self.images += len(target)
        is_first = ~parts.isfinite().all() & (self.bad_step < 0)
        self.bad_step = torch.where(is_first, step, self.bad_step)
        self.bad_parts = torch.where(is_first, parts, self.bad_parts)

    def read(self, epoch: int) -> dict[str, float]:
        """Means so far: train_loss, train_PART for each part, train_top1 in percent.

        Raises:
            RunError: a loss was not finite; names the step and the parts.
        """
        bad_step, *values = torch.cat(
            [self.bad_step[None].double(), self.sums, self.bad_parts]
        ).tolist()
        if bad_step >= 0:
            parts = zip(self.names, values[len(self.names) + 1 :], strict=True)
            listed = ", ".join(f"{name} = {value:g}" for name, value in parts)
            raise RunError(
                f"loss not finite at epoch {epoch}, step {int(bad_step) + 1}: {listed}; what was "
                "saved before is kept, --fresh --set optimizer.lr=LOWER starts over"
            )
        images = max(self.images, 1)
        means = [value / images for value in values[: len(self.names)]]
        record = {"train_loss": sum(means)}
        record |= {f"train_{name}": mean for name, mean in zip(self.names, means, strict=True)}
        return record | {"train_top1": 100 * values[len(self.names)] / images}

    def state_dict(self) -> dict[str, object]:
        """What ``load_state_dict`` needs to go on in the middle of an epoch."""
        return {"names": self.names, "images": self.images, "sums": self.sums}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a saved state."""
        names, images, sums = state["names"], state["images"], state["sums"]
        assert isinstance(names, list)
        assert isinstance(images, int)
        assert isinstance(sums, Tensor)
        self.names = names
        self.reset()
        self.images, self.sums = images, sums.to(self.device)
