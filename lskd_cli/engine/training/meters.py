"""Running sums of the losses and the accuracy of an epoch, kept on the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lskd_cli.engine.devices.distributed import SINGLE_PROCESS, ProcessGroup
from lskd_cli.errors import DivergenceError


class Meters:
    """Mean losses and training accuracy of the epoch so far, and its first non-finite loss.

    The sums are changed in place, so that a captured step keeps adding to them.
    """

    def __init__(self, device: torch.device, group: ProcessGroup = SINGLE_PROCESS) -> None:
        """Start with no step.

        Args:
            device: device of the sums.
            group: the processes whose images count; all of them call the methods that gather sums.
        """
        self.device = device
        self.group = group
        self._allocate([])

    def _allocate(self, names: list[str]) -> None:
        self.names = names
        # One sum per loss term, then the number of correct predictions and of images.
        self.sums = torch.zeros(len(names) + 2, dtype=torch.float64, device=self.device)
        self.steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=self.device)  # counted from 1
        self.bad_losses = torch.zeros(len(names), dtype=torch.float64, device=self.device)

    def reset(self) -> None:
        """Start an epoch."""
        for tensor in self.tensors():
            tensor.zero_()

    def tensors(self) -> list[Tensor]:
        """The tensors that ``update`` changes."""
        return [self.sums, self.steps, self.bad_step, self.bad_losses]

    def losses(self) -> list[Tensor]:
        """Views of the sums of the losses, and the first ones that are not finite."""
        return [self.sums[:-2], self.bad_losses]

    def correct(self) -> Tensor:
        """View of the number of correct predictions."""
        return self.sums[-2]

    def counts(self) -> list[Tensor]:
        """Views of the numbers of images and steps."""
        return [self.sums[-1], self.steps, self.bad_step]

    @torch.no_grad()
    def update(
        self,
        names: list[str],
        losses: Tensor,
        logits: Tensor,
        target: Tensor,
        is_counted: bool = True,
    ) -> None:
        """Add a step.

        Args:
            names: names of L losses.
            losses: (L,) their values.
            logits: (B, C).
            target: (B,) class indices.
            is_counted: whether the images count; those of a process without images of its own do
                not.
        """
        if names != self.names:
            self._allocate(names)
        losses = losses.double()
        if is_counted:
            self.sums[:-2].add_(losses, alpha=len(target))
            self.sums[-2].add_((logits.argmax(dim=1) == target).sum())
            self.sums[-1].add_(len(target))
        self.steps += 1
        is_first_bad = (self.bad_step == 0) & ~losses.isfinite().all()
        # masked_fill_ with a tensor would wait for the device.
        torch.where(is_first_bad, self.steps, self.bad_step, out=self.bad_step)
        torch.where(is_first_bad, losses, self.bad_losses, out=self.bad_losses)

    def has_bad_step(self) -> bool:
        """Whether a loss of this process was not finite; reads from the device."""
        return bool(self.bad_step.item())

    def check_finite(self, run: str, epoch: int) -> None:
        """Check that all losses of all processes were finite.

        Args:
            run: name of the run, for the message.
            epoch: current epoch, for the message.

        Raises:
            DivergenceError: a loss was not finite; the message names the step and the losses.
        """
        values = self.group.all_gather(torch.cat([self.bad_step[None].double(), self.bad_losses]))
        for bad_step, *bad_losses in values.tolist():
            if bad_step == 0:
                continue
            pairs = zip(self.names, bad_losses, strict=True)
            losses = ", ".join(f"{name} = {value:g}" for name, value in pairs)
            raise DivergenceError(
                f"{run}: loss not finite at epoch {epoch}, step {int(bad_step)}: {losses}"
            )

    def means(self) -> dict[str, float]:
        """Means so far: train_loss, train_NAME of each loss term, and train_top1 in percent."""
        return self._means(self.group.all_gather(self.sums).sum(dim=0))

    def local_means(self) -> dict[str, float]:
        """The means of the images of this process."""
        return self._means(self.sums)

    def _means(self, values: Tensor) -> dict[str, float]:
        *totals, correct, images = values.tolist()
        images = max(images, 1)
        means = [value / images for value in totals]
        metrics = {"train_loss": sum(means)}
        metrics |= {f"train_{name}": mean for name, mean in zip(self.names, means, strict=True)}
        return metrics | {"train_top1": 100 * correct / images}

    def state_dict(self) -> dict[str, object]:
        """The sums of all processes, from which ``load_state_dict`` resumes within an epoch."""
        sums = self.group.all_gather(self.sums).sum(dim=0)
        return {"names": self.names, "sums": sums, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore a state: the main process gets the sums of all processes."""
        names, sums, steps = state["names"], state["sums"], state["steps"]
        assert isinstance(names, list)
        assert isinstance(sums, Tensor)
        assert isinstance(steps, Tensor)
        self._allocate(names)
        if self.group.is_main_process:
            self.sums.copy_(sums)
        self.steps.copy_(steps)
