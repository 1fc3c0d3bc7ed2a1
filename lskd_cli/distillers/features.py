"""What the methods that read features have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.linalg import vector_norm

from lskd_cli.distillers.base import Distiller, Step, at_least_float32, warmed_up
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.models import Network, Output, Shapes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """What a method of features is made for.

    Attributes:
        student: shapes of what the student gives.
        teacher: likewise of the teacher.
        network: the teacher.
        targets: (N,) classes of the training images, on the CPU.
    """

    student: Shapes
    teacher: Shapes
    network: Network
    targets: Tensor


class FeatureDistiller(Distiller):
    """Cross entropy, a loss of the weak view's features, and KD's where it has a weight.

    A subclass names what it reads in ``reads`` and defines ``distillation``.
    """

    settings = ("ce_weight", "feature_weight", "kd_weight", "temperature")

    def __init__(self, method: Any, standardized: bool, pair: Pair) -> None:
        """Take the hyper-parameters; subclasses make their adapters.

        Args:
            method: ce_weight, feature_weight, kd_weight and temperature are among them.
            standardized: whether the logits of the KD term are.
            pair: the networks.
        """
        super().__init__()
        self.method = method
        self.standardized = standardized

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        """The loss of the features, without its weight: a scalar."""
        raise TypeError(f"{type(self).__name__} does not define its distillation")

    def losses(self, step: Step) -> dict[str, Tensor]:
        method = self.method
        student, teacher = step.student["weak"], step.teacher["weak"]
        ce = F.cross_entropy(at_least_float32(student.logits), step.target)
        loss = method.feature_weight * self.distillation(student, teacher, step)
        loss = warmed_up(loss, method, step.epoch)
        losses = {"ce": method.ce_weight * ce, method.name: loss}
        if method.kd_weight > 0:
            logits = student.logits, teacher.logits
            kd = kd_loss(*logits, method.temperature, self.standardized)
            losses["kd"] = method.kd_weight * kd
        return losses


def stages(of: Any) -> list[Any]:
    """Features (of an ``Output``, or their shapes) of the stages, without the stem's."""
    return list(of.feats[1:])


def unactivated(of: Any) -> list[Any]:
    """The same before their last activation; stages of some families end without one."""
    before = of.preacts or of.feats
    return list(before[-len(stages(of)) :])


def pooled(output: Output) -> Tensor:
    """(B, F), what the classifier reads, in at least float32."""
    assert output.pooled is not None
    return at_least_float32(output.pooled)


def matched(student: Sequence[Any], teacher: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """As many of the student's as of the teacher's, first to first, last to last.

    Of the one that has more, they are taken at even distances.
    """
    count = min(len(student), len(teacher))
    return _evenly(student, count), _evenly(teacher, count)


def _evenly(items: Sequence[Any], count: int) -> list[Any]:
    if count == 1:
        return [items[-1]]
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def of_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (B, C, H, W) in at least float32, the larger averaged to the size of the smaller."""
    side = min(student.shape[2], teacher.shape[2])
    first, second = (
        F.adaptive_avg_pool2d(feature, side) if feature.shape[2] != side else feature
        for feature in (at_least_float32(student), at_least_float32(teacher))
    )
    return first, second


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Vectors of length 1; those of length 0 stay, and pass no gradient on.

    F.normalize would multiply the gradient of a vector of zeros by 1e12.
    """
    length = vector_norm(vectors, dim=dim, keepdim=True)
    is_none = length == 0
    result: Tensor = vectors.masked_fill(is_none, 0.0) / length.masked_fill(is_none, 1.0)
    return result


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch has one value for a channel."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)
