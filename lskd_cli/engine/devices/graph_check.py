"""Comparison of a captured step with the same step executed eagerly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Largest difference of a captured from an eager step, relative to the change of the step, by kind.
# Measured with launches of eight steps of kd, dkd and mlkd on digits, in float32 and with factors
# rounded to tf32 and bf16: with another order of summation, the largest differences were 0.06
# (parameters), 0.03 (statistics), 0.11 (optimizer) and 0.001 (losses). With the images of the
# launch before, swapped views, teacher outputs moved by one image, or half or ten times the
# learning rate, at least one kind was about twice as large as its limit, or larger.
LIMITS = {
    "parameters": 0.11,
    "average": 0.11,
    "statistics": 0.2,
    "optimizer": 0.25,
    "losses": 0.009,
}

# The same for a single tensor, which the norm of its kind may hide (largest: 0.15).
_TENSOR_LIMIT = 0.4

# Part of the change of all tensors of a kind that is added to that of a tensor: the gradient of a
# bias before a batch norm is zero except for rounding.
_MIN_CHANGE = 0.05


@dataclass
class StepState:
    """Tensors that training steps change in place.

    Attributes:
        values: tensors by kind (parameters, running statistics, ...), which are compared within
            their kind, because the changes of different kinds have different sizes.
        counters: numbers of steps and images, which must be equal.
        uncompared: tensors that rounding changes abruptly, such as numbers of correct predictions.
    """

    values: dict[str, list[Tensor]]
    counters: list[Tensor]
    uncompared: list[Tensor]

    @classmethod
    def join(cls, states: Sequence["StepState"]) -> "StepState":
        """The tensors of several students."""
        kinds = dict.fromkeys(kind for state in states for kind in state.values)
        return cls(
            {kind: [t for state in states for t in state.values.get(kind, [])] for kind in kinds},
            [tensor for state in states for tensor in state.counters],
            [tensor for state in states for tensor in state.uncompared],
        )

    def copy(self) -> "StepState":
        """The current values."""
        return StepState(
            {kind: [tensor.clone() for tensor in part] for kind, part in self.values.items()},
            [tensor.clone() for tensor in self.counters],
            [tensor.clone() for tensor in self.uncompared],
        )

    @torch.no_grad()
    def restore(self, saved: "StepState") -> None:
        """Write values of ``copy`` back."""
        for tensor, value in zip(self._tensors(), saved._tensors(), strict=True):
            tensor.copy_(value)

    def problem(self, before: "StepState", expected: "StepState") -> str | None:
        """What differs from the expected values by more than rounding; None if nothing does.

        Args:
            before: values before the step.
            expected: values after the same step; kinds that end with values that are not finite
                are not compared.
        """
        if not all(map(torch.equal, self.counters, expected.counters)):
            return "the numbers of steps differ"
        for kind, limit in LIMITS.items():
            parts = (state.values.get(kind, []) for state in (self, before, expected))
            all_tensors, one_tensor = _relative_differences(*parts)
            if all_tensors > limit or one_tensor > _TENSOR_LIMIT:
                return f"{kind} differ by {max(all_tensors, one_tensor):.2g} of their change"
        return None

    def _tensors(self) -> list[Tensor]:
        values = [tensor for part in self.values.values() for tensor in part]
        return [*values, *self.counters, *self.uncompared]


def _relative_differences(
    actual: Sequence[Tensor], before: Sequence[Tensor], expected: Sequence[Tensor]
) -> tuple[float, float]:
    """Differences from the expected values, relative to the expected change.

    Returns:
        That of all tensors together, and the largest one of a tensor; zeros if the expected change
        is not finite.
    """
    changes, errors = [], []
    for value, start, end in zip(actual, before, expected, strict=True):
        changes.append(_norm(end.double() - start.double()))
        errors.append(_norm(value.double() - end.double()))
    change, error = math.hypot(*changes), math.hypot(*errors)
    if not math.isfinite(change) or error == 0:
        return 0.0, 0.0
    if math.isnan(error) or change == 0:
        return math.inf, math.inf
    ratios = (e / (c + _MIN_CHANGE * change) for e, c in zip(errors, changes, strict=True))
    return error / change, max(ratios)


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))
