"""Sums of an epoch, kept on the device and read at its end."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lskd_cli.engine.team import ALONE, Team
from lskd_cli.errors import RunError


class Meters:
    """Mean losses and training accuracy of an epoch so far, and its first non-finite loss.

    The sums are changed in place, so that a recorded step goes on adding to them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._name([])

    def _name(self, names: list[str]) -> None:
        self.names = names
        # The loss parts, then the number of right answers and that of images.
        self.sums = torch.zeros(len(names) + 2, dtype=torch.float64, device=self.device)
        self.steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=self.device)  # counts from 1
        self.bad_parts = torch.zeros(len(names), dtype=torch.float64, device=self.device)

    def reset(self) -> None:
        """Start an epoch."""
        for tensor in (self.sums, self.steps, self.bad_step, self.bad_parts):
            tensor.zero_()

    @torch.no_grad()
    def update(self, losses: Mapping[str, Tensor], logits: Tensor, target: Tensor) -> None:
        """Add a step: scalar losses by name, (B, C) logits and (B,) classes."""
        if list(losses) != self.names:
            self._name(list(losses))
        parts = torch.stack([loss.detach().double() for loss in losses.values()])
        right = (logits.argmax(dim=1) == target).sum()
        images = torch.full_like(right, len(target))
        self.sums += torch.cat([parts * len(target), torch.stack([right, images]).double()])
        self.steps += 1
        is_first = ~parts.isfinite().all() & (self.bad_step == 0)
        self.bad_step.copy_(torch.where(is_first, self.steps, self.bad_step))
        self.bad_parts.copy_(torch.where(is_first, parts, self.bad_parts))

    def read(self, epoch: int, team: Team = ALONE) -> dict[str, float]:
        """Means so far: train_loss, train_PART for each part, train_top1 in percent.

        Args:
            epoch: for the message.
            team: whose images all count; alone, those of this process.

        Raises:
            RunError: a loss was not finite; names the step and the parts.
        """
        of_all = team.gathered(torch.cat([self.bad_step[None].double(), self.bad_parts, self.sums]))
        count = len(self.names)
        values = of_all[:, count + 1 :].sum(dim=0).tolist()
        for bad_step, *bad_parts in of_all[:, : count + 1].tolist():
            if bad_step == 0:
                continue
            parts = zip(self.names, bad_parts, strict=True)
            listed = ", ".join(f"{name} = {value:g}" for name, value in parts)
            raise RunError(
                f"loss not finite at epoch {epoch}, step {int(bad_step)}: {listed}; what was "
                "saved before is kept, --fresh --set optimizer.lr=LOWER starts over"
            )
        right, images = values[count], max(values[count + 1], 1)
        means = [value / images for value in values[:count]]
        record = {"train_loss": sum(means)}
        record |= {f"train_{name}": mean for name, mean in zip(self.names, means, strict=True)}
        return record | {"train_top1": 100 * right / images}

    def state_dict(self, team: Team = ALONE) -> dict[str, object]:
        """What ``load_state_dict`` needs to go on in the middle of an epoch, of all processes."""
        sums = team.gathered(self.sums).sum(dim=0)
        return {"names": self.names, "sums": sums, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, object], team: Team = ALONE) -> None:
        """Go on from a saved state: the first process with the sums of all."""
        names, sums, steps = state["names"], state["sums"], state["steps"]
        assert isinstance(names, list)
        assert isinstance(sums, Tensor)
        assert isinstance(steps, Tensor)
        self._name(names)
        if team.leads:
            self.sums.copy_(sums)
        self.steps.copy_(steps)
