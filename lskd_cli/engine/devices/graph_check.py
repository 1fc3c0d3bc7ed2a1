"""Comparison of a captured step with the same step executed eagerly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Largest difference of a captured from an eager step, relative to the change of the step. Kernels
# that add in another order differ by rounding; a step on wrong data, with a wrong learning rate or
# without one of its parts differs by about 1.
TOLERANCES = {"fp32": 0.02, "tf32": 0.1, "bf16": 0.2}

# Part of the change of all tensors that is added to that of a tensor: the gradient of a bias before
# a batch norm is zero except for rounding.
_MIN_CHANGE = 0.05


@dataclass
class StepState:
    """Tensors that training steps change in place.

    Attributes:
        weights: parameters, buffers and the state of the optimizer.
        metrics: running sums.
    """

    weights: list[Tensor]
    metrics: list[Tensor]

    def __add__(self, other: "StepState") -> "StepState":
        return StepState(self.weights + other.weights, self.metrics + other.metrics)

    def copy(self) -> "StepState":
        """The current values."""
        return StepState(*([tensor.clone() for tensor in part] for part in self._parts()))

    @torch.no_grad()
    def restore(self, values: "StepState") -> None:
        """Write values of ``copy`` back."""
        for part, saved in zip(self._parts(), values._parts(), strict=True):
            for tensor, value in zip(part, saved, strict=True):
                tensor.copy_(value)

    def difference(self, before: "StepState", expected: "StepState") -> float:
        """Largest difference from the expected values, relative to the expected change.

        Args:
            before: values before the step.
            expected: values after the same step; a step that ends with values that are not finite
                is not compared.
        """
        parts = zip(self._parts(), before._parts(), expected._parts(), strict=True)
        return max(_difference(*part) for part in parts)

    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        return self.weights, self.metrics


def _difference(
    actual: Sequence[Tensor], before: Sequence[Tensor], expected: Sequence[Tensor]
) -> float:
    changes, errors = [], []
    for value, start, end in zip(actual, before, expected, strict=True):
        changes.append(_norm(end.double() - start.double()))
        errors.append(_norm(value.double() - end.double()))
    total = math.hypot(*changes)
    if not math.isfinite(total):
        return 0.0
    ratios = [
        error / (change + _MIN_CHANGE * total) if error else 0.0
        for change, error in zip(changes, errors, strict=True)
    ]
    return math.inf if any(map(math.isnan, ratios)) else max(ratios, default=0.0)


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))
