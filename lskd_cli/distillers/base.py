"""What every distillation method is to the training loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lskd_cli.models import Output
from lskd_cli.view import View


@dataclass
class Step:
    """What a distiller sees of one training step.

    Attributes:
        student: outputs by view, logits (B, C) each.
        teacher: outputs by view, without gradient; empty for methods without a teacher.
        target: (B,) class indices.
        epoch: scalar, counts from 1; a tensor, so that a recorded step reads today's.
    """

    student: Mapping[View, Output]
    teacher: Mapping[View, Output]
    target: Tensor
    epoch: Tensor


class Distiller(nn.Module):
    """A method: named losses of a step, and the parameters it learns beside the student."""

    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs_teacher: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Scalars by name, weights included; their sum is what the student minimizes."""
        raise TypeError(f"{type(self).__name__} does not define its losses")

    def logged(self) -> dict[str, Tensor]:
        """Scalars worth a column in the metrics of an epoch, besides the losses."""
        return {}


def at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits as float32, so that exponentials and sums of classes keep digits."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
