"""What every distillation method is to the training loop."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models import Output
from lskd_cli.view import View

# Rows of this process in, rows of all processes out, in the order of their ranks.
Gather = Callable[[Tensor], Tensor]


@dataclass
class Step:
    """What a distiller sees of one training step.

    Attributes:
        student: outputs by view, logits (B, C) each.
        teacher: outputs by view, without gradient; empty for methods without a teacher.
        target: (B,) class indices.
        epoch: scalar, counts from 1; a tensor, so that a recorded step reads today's.
        index: (B,) places of the images among the training images.
        precision: context in which networks run, for those of the method's own.
    """

    student: Mapping[View, Output]
    teacher: Mapping[View, Output]
    target: Tensor
    epoch: Tensor
    index: Tensor
    precision: Callable[[], AbstractContextManager[None]] = nullcontext


class Distiller(nn.Module):
    """A method: named losses of a step, and the parameters it learns beside the student.

    Attributes:
        views: of the images that it reads.
        needs_teacher: whether it reads outputs of a teacher.
        reads: fields of ``Output`` that it reads besides the logits; such a method is made with the
            ``Pair`` of its networks.
        settings: names of hyper-parameters that it has to be given.
        recordable: whether its steps can be recorded as a CUDA graph: they read nothing from the
            device.
    """

    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs_teacher: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[tuple[str, ...]] = ()
    recordable: ClassVar[bool] = True

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Scalars by name, weights included; their sum is what the student minimizes."""
        raise TypeError(f"{type(self).__name__} does not define its losses")

    def after_step(self, gathered: Gather) -> None:
        """Once gradients are taken: what a method remembers for later steps."""

    def logged(self) -> dict[str, Tensor]:
        """Scalars worth a column in the metrics of an epoch, besides the losses."""
        return {}


class LogitDistiller(Distiller):
    """Cross entropy, and one loss of the weak view's logits under the name of the method.

    The latter has the weight kd_weight; it grows to it over the first epochs where the method has
    a warm-up.
    """

    settings = ("ce_weight", "kd_weight")

    def __init__(self, method: Any, standardized: bool) -> None:
        """Take the hyper-parameters; ce_weight and kd_weight are among them."""
        super().__init__()
        self.method = method
        self.standardized = standardized

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """The loss of (B, C) logits and (B,) classes, without its weight: a scalar."""
        raise TypeError(f"{type(self).__name__} does not define its distillation")

    def losses(self, step: Step) -> dict[str, Tensor]:
        method = self.method
        student, teacher = step.student["weak"].logits, step.teacher["weak"].logits
        ce = F.cross_entropy(at_least_float32(student), step.target)
        loss = method.kd_weight * self.distillation(student, teacher, step.target)
        return {"ce": method.ce_weight * ce, method.name: warmed_up(loss, method, step.epoch)}


def warmed_up(loss: Tensor, method: Any, epoch: Tensor) -> Tensor:
    """A loss that grows to its size over the first epochs, where the method has a warm-up."""
    if not hasattr(method, "warmup"):
        return loss
    grown: Tensor = (epoch / method.warmup).clamp(max=1.0) * loss
    return grown


def at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits as float32, so that exponentials and sums of classes keep digits."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
