"""Gradients of a step: of the sum of all losses, or of cross entropy and distillation apart."""

from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, get_total_norm

from lskd_cli.engine.devices.distributed import ProcessGroup
from lskd_cli.engine.training.dot import DOT


class Gradients:
    """Accumulates the gradients of micro-batches in ``.grad``, averaged over all processes."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Prepare steps of an optimizer.

        Args:
            module: returns (B, C) logits and losses by name; ``DistributedDataParallel`` if there
                are several processes.
            optimizer: optimizer of the parameters of the module.
        """
        self.module = module
        self.optimizer = optimizer

    def zero(self) -> None:
        """Start a step."""
        self.optimizer.zero_grad()

    def add(
        self, inputs: tuple[Any, ...], weight: float, is_last: bool
    ) -> tuple[Tensor, list[str], Tensor]:
        """Run the module on a micro-batch, and add the gradients of its losses.

        Args:
            inputs: arguments of the module.
            weight: weight of the micro-batch.
            is_last: whether it is the last one of the step, after which processes exchange
                gradients.

        Returns:
            (B, C) logits, the names of L losses, and their (L,) values without a graph.
        """
        with self._grad_sync(is_last):
            logits, losses = self.module(*inputs)
            values = torch.stack(list(losses.values()))
            loss = weight * values.sum()
            loss.backward()  # type: ignore[no-untyped-call]
        return logits, list(losses), values.detach()

    def _grad_sync(self, is_last: bool) -> AbstractContextManager[None]:
        if is_last or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        no_sync: AbstractContextManager[None] = self.module.no_sync()
        return no_sync

    def clip(self, max_norm: float) -> None:
        """Scale all gradients so that their norm is at most ``max_norm``."""
        clip_grad_norm_(self.module.parameters(), max_norm)

    def step(self) -> None:
        """Update the parameters."""
        self.optimizer.step()


class SeparateGradients(Gradients):
    """Task gradients in ``.grad``, and distillation gradients beside them, for ``DOT``.

    The task loss is the term "ce", the distillation loss is the sum of all others.
    """

    def __init__(self, module: nn.Module, optimizer: DOT, group: ProcessGroup) -> None:
        """Prepare steps of an optimizer; ``module`` is not wrapped for several processes."""
        super().__init__(module, optimizer)
        self.group = group
        self.parameters = [p for part in optimizer.param_groups for p in part["params"]]
        self.kd_gradients: list[Tensor | None] = [None] * len(self.parameters)

    def zero(self) -> None:
        super().zero()
        self.kd_gradients = [None] * len(self.parameters)

    def add(
        self, inputs: tuple[Any, ...], weight: float, is_last: bool
    ) -> tuple[Tensor, list[str], Tensor]:
        logits, losses = self.module(*inputs)
        others = [loss for name, loss in losses.items() if name != "ce"]
        if others:
            found = torch.autograd.grad(
                weight * torch.stack(others).sum(),
                self.parameters,
                retain_graph="ce" in losses,
                allow_unused=True,
            )
            self.kd_gradients = [
                old if new is None else new if old is None else old + new
                for old, new in zip(self.kd_gradients, found, strict=True)
            ]
        if "ce" in losses:
            task = weight * losses["ce"]
            task.backward()
        if is_last:
            self.group.average([*self._task_gradients(), *self._known_kd_gradients()])
        return logits, list(losses), torch.stack([loss.detach() for loss in losses.values()])

    def _task_gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]

    def _known_kd_gradients(self) -> list[Tensor]:
        return [gradient for gradient in self.kd_gradients if gradient is not None]

    @torch.no_grad()
    def clip(self, max_norm: float) -> None:
        """Scale all gradients by one factor, so that the norm of their sums is at most that."""
        sums = []
        for parameter, kd in zip(self.parameters, self.kd_gradients, strict=True):
            present = [gradient for gradient in (parameter.grad, kd) if gradient is not None]
            sums += [reduce(torch.add, present)] if present else []
        factor = (max_norm / (get_total_norm(sums) + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([*self._task_gradients(), *self._known_kd_gradients()], factor)

    def step(self) -> None:
        assert isinstance(self.optimizer, DOT)
        self.optimizer.step(self.kd_gradients)


def create_gradients(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    group: ProcessGroup,
    all_params_used: bool,
) -> Gradients:
    """The gradients that an optimizer needs; ``all_params_used`` is that of ``Network``."""
    if isinstance(optimizer, DOT):
        return SeparateGradients(module, optimizer, group)
    return Gradients(group.wrap_ddp(module, all_params_used), optimizer)
