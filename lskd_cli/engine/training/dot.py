"""DOT: distillation-oriented trainer (Zhao et al., ICCV 2023, arXiv:2307.08436).

SGD with two momentum buffers: one of the task gradients, with a smaller momentum, and one of the
distillation gradients, with a larger one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class DOT(torch.optim.Optimizer):
    """SGD whose momentum of the distillation loss is larger than that of the task loss.

    With task gradient g (in ``.grad``), distillation gradient h and weight decay d::

        v = (momentum - delta) * v + g + d * p
        w = (momentum + delta) * w + h
        p = p - lr * (v + w)

    A parameter that only one of the two losses reaches has the plain momentum.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float | Tensor,
        momentum: float = 0.9,
        delta: float = 0.075,
        weight_decay: float = 0.0,
    ) -> None:
        """Create buffers of zeros, with which the first step is that of the gradients alone.

        Args:
            params: parameters, or groups of them with settings of their own.
            lr: learning rate; a scalar tensor if a captured step reads it.
            momentum: momentum of a parameter that only one loss reaches.
            delta: difference of the two momenta from ``momentum``.
            weight_decay: L2 penalty, part of the task loss.

        Raises:
            ValueError: the momenta are not between 0 and 1.
        """
        if not 0 <= momentum - delta <= momentum + delta < 1:
            raise ValueError(f"delta: momentum {momentum} +- {delta} must be from 0 to below 1")
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": weight_decay}
        )
        for group in self.param_groups:
            for parameter in group["params"]:
                for name in ("task_momentum", "kd_momentum"):
                    self.state[parameter][name] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, kd_gradients: Sequence[Tensor | None]) -> None:  # type: ignore[override]
        """Update the parameters.

        Args:
            kd_gradients: gradients of the distillation loss, in the order of the parameters of all
                groups; None where it does not reach a parameter.
        """
        remaining = iter(kd_gradients)
        for group in self.param_groups:
            # By whether both losses, or only one of them, reach the parameters.
            rows: dict[tuple[bool, bool], list[tuple[Tensor, Tensor | None, Tensor | None]]] = {}
            for parameter in group["params"]:
                task, kd = parameter.grad, next(remaining)
                reached = (task is not None, kd is not None)
                rows.setdefault(reached, []).append((parameter, task, kd))
            rows.pop((False, False), None)
            for reached, part in rows.items():
                self._update(group, part, group["delta"] if all(reached) else 0.0)

    def _update(
        self,
        group: dict[str, Any],
        rows: Sequence[tuple[Tensor, Tensor | None, Tensor | None]],
        delta: float,
    ) -> None:
        parameters = [parameter for parameter, _, _ in rows]
        task = [self.state[parameter]["task_momentum"] for parameter in parameters]
        kd = [self.state[parameter]["kd_momentum"] for parameter in parameters]
        torch._foreach_mul_(task, group["momentum"] - delta)
        torch._foreach_mul_(kd, group["momentum"] + delta)
        task_gradients = [gradient for _, gradient, _ in rows if gradient is not None]
        kd_gradients = [gradient for _, _, gradient in rows if gradient is not None]
        if task_gradients:
            torch._foreach_add_(task, task_gradients)
        if kd_gradients:
            torch._foreach_add_(kd, kd_gradients)
        torch._foreach_add_(task, parameters, alpha=group["weight_decay"])
        updates = torch._foreach_add(task, kd)
        torch._foreach_mul_(updates, group["lr"])
        torch._foreach_sub_(parameters, updates)
