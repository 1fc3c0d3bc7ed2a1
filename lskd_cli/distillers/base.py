"""The interface between distillation methods and the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.config import View
from lskd_cli.models import Output

# Takes the rows of this process and returns the rows of all processes, in the order of ranks.
AllGather = Callable[[Tensor], Tensor]


@dataclass
class StepInputs:
    """Inputs of a distiller in one training step.

    Attributes:
        student: outputs by view, with logits of shape (B, C).
        teacher: outputs by view, without gradient; empty for methods without a teacher.
        target: (B,) class indices; of a mixed image, that of its larger part.
        epoch: scalar tensor, counted from 1; a tensor, so that a captured CUDA graph reads the
            current value.
        index: (B,) indices of the images in the training set.
        precision: context in which networks run; modules of the method use it too.
        soft_target: (B, C) probabilities of mixed images or with label smoothing.
    """

    student: Mapping[View, Output]
    teacher: Mapping[View, Output]
    target: Tensor
    epoch: Tensor
    index: Tensor
    precision: Callable[[], AbstractContextManager[None]] = nullcontext
    soft_target: Tensor | None = None

    @property
    def ce_target(self) -> Tensor:
        """Target of the cross entropy: (B,) class indices, or (B, C) probabilities."""
        return self.target if self.soft_target is None else self.soft_target

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Cross entropy of (B, C) logits, mean over the batch, at least float32."""
        return F.cross_entropy(at_least_float32(logits), self.ce_target)


class Distiller(nn.Module, ABC):
    """A distillation method: the named losses of a step, and the parameters that it trains.

    Attributes:
        required_features: fields of ``Output`` that the method uses besides the logits; the
            constructor of such a method takes a ``FeatureSpec``.
        needs_spec: whether the constructor takes a ``FeatureSpec`` although it uses no features.
        required_fields: hyper-parameters that its config must have.
        cuda_graph_safe: whether its steps can be captured in a CUDA graph, that is, whether they
            never read values from the device.
        draws_random_numbers: whether its steps draw random numbers.
    """

    required_features: ClassVar[tuple[str, ...]] = ()
    needs_spec: ClassVar[bool] = False
    required_fields: ClassVar[tuple[str, ...]] = ()
    cuda_graph_safe: ClassVar[bool] = True
    draws_random_numbers: ClassVar[bool] = False
    config: Any

    def __init__(self, config: Any, standardized: bool) -> None:
        """Store the hyper-parameters.

        Args:
            config: hyper-parameters of the method.
            standardized: whether to standardize the logits.
        """
        super().__init__()
        self.config = config
        self.standardized = standardized

    @property
    def views(self) -> tuple[View, ...]:
        """Views of each image that the method uses."""
        views: tuple[View, ...] = self.config.views
        return views

    @property
    def needs_teacher(self) -> bool:
        """Whether the method uses outputs of a teacher."""
        return bool(self.config.needs_teacher)

    @abstractmethod
    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        """Scalar losses by name, weights included; the student minimizes their sum."""

    def on_step_end(self, all_gather: AllGather) -> None:
        """Called after the gradients of a step are computed; updates memories of the method."""

    def metrics(self) -> dict[str, Tensor]:
        """Scalars for the metrics of an epoch, besides the losses."""
        return {}


class LogitDistiller(Distiller):
    """Cross entropy, and one loss of the logits of the weak view under the name of the method.

    The weight of the latter is kd_weight, after a linear warm-up if the config has a warmup.
    """

    required_fields = ("ce_weight", "kd_weight")

    @abstractmethod
    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """The loss of (B, C) logits and (B,) class indices, without its weight: a scalar."""

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        config = self.config
        student, teacher = inputs.student["weak"].logits, inputs.teacher["weak"].logits
        ce = inputs.cross_entropy(student)
        loss = config.kd_weight * self.distillation_loss(student, teacher, inputs.target)
        return {"ce": config.ce_weight * ce, config.name: linear_warmup(loss, config, inputs.epoch)}


def linear_warmup(loss: Tensor, config: Any, epoch: Tensor) -> Tensor:
    """Multiply a loss by min(epoch / warmup, 1) if the config has a warmup."""
    if not hasattr(config, "warmup"):
        return loss
    scaled: Tensor = (epoch / config.warmup).clamp(max=1.0) * loss
    return scaled


def kl_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(t) || softmax(s)) of (..., C) logits, mean over all but the classes: a scalar."""
    num_rows = student.numel() // student.shape[-1]
    return _kl_terms(student, teacher, "sum") / num_rows


def kl_divergences(student: Tensor, teacher: Tensor) -> Tensor:
    """(...) KL(softmax(t) || softmax(s)) of each row of (..., C) logits."""
    return _kl_terms(student, teacher, "none").sum(dim=-1)


def _kl_terms(student: Tensor, teacher: Tensor, reduction: str) -> Tensor:
    log_q, log_p = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return F.kl_div(log_q, log_p, reduction=reduction, log_target=True)


def at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits as float32, for accurate exponentials and sums over classes."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
