"""Base class and helpers of feature methods."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.linalg import vector_norm

from lskd_cli.distillers.base import Distiller, StepInputs, at_least_float32, linear_warmup
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.models import FeatureShapes, Network, Output
from lskd_cli.models.blocks import pool_to

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature method needs to know about its networks and data.

    Attributes:
        student: shapes of the student's features.
        teacher: shapes of the teacher's features.
        teacher_network: the teacher.
        targets: (N,) class indices of the training images, on the CPU.
        epochs: number of epochs of the training.
        class_outputs: returns (classes, n, d) outputs of the teacher for n training images of each
            class, or for n positions in their last feature maps.
        classifiers: the layers of student and teacher that turn the mean of ``final_map`` into
            logits, for methods that require this field.
    """

    student: FeatureShapes
    teacher: FeatureShapes
    teacher_network: Network
    targets: Tensor
    epochs: int
    class_outputs: Callable[[], Tensor]
    classifiers: tuple[nn.Linear, nn.Linear] | None = None


class FeatureDistiller(Distiller):
    """Cross entropy, a loss of the features of the weak view, and the KD loss if it has a weight.

    A subclass lists what it uses in ``required_features`` and defines ``distillation_loss``.
    """

    required_fields = ("ce_weight", "feature_weight", "kd_weight", "temperature")

    def __init__(self, config: Any, standardized: bool, spec: FeatureSpec) -> None:
        """Store the hyper-parameters; subclasses create their adapters.

        Args:
            config: hyper-parameters, with the ``required_fields``.
            standardized: whether to standardize the logits of the KD term.
            spec: the networks and the data.
        """
        super().__init__(config, standardized)

    @abstractmethod
    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        """The loss of the features, without its weight: a scalar."""

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        config = self.config
        student, teacher = inputs.student["weak"], inputs.teacher["weak"]
        ce = inputs.cross_entropy(student.logits)
        loss = config.feature_weight * self.distillation_loss(student, teacher, inputs)
        loss = linear_warmup(loss, config, inputs.epoch)
        losses = {"ce": config.ce_weight * ce, config.name: loss}
        if config.kd_weight > 0:
            kd = kd_loss(student.logits, teacher.logits, config.temperature, self.standardized)
            losses["kd"] = config.kd_weight * kd
        return losses


def stages(output: Any) -> list[Any]:
    """Features of the stages (of an ``Output`` or ``FeatureShapes``), without the stem."""
    return list(output.feats[1:])


def preactivations(output: Any) -> list[Any]:
    """Features of the stages before the last activation.

    Stages of some families end without an activation; their outputs are returned.
    """
    features = output.preacts or output.feats
    return list(features[-len(stages(output)) :])


def pooled_features(output: Output) -> Tensor:
    """(B, F) input of the classifier, in at least float32."""
    assert output.pooled is not None
    return at_least_float32(output.pooled)


def match_stages(student: Sequence[Any], teacher: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """As many stages of both networks: first to first, last to last.

    From the network with more stages, they are taken at even distances.
    """
    count = min(len(student), len(teacher))
    return _select_evenly(student, count), _select_evenly(teacher, count)


def _select_evenly(items: Sequence[Any], count: int) -> list[Any]:
    if count == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def match_spatial_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two (B, C, H, W) maps in at least float32, the larger one average-pooled to the smaller."""
    side = min(student.shape[2], teacher.shape[2])
    return pool_to(at_least_float32(student), side), pool_to(at_least_float32(teacher), side)


def l2_normalize(vectors: Tensor, dim: int) -> Tensor:
    """Vectors of length 1; zero vectors stay zero and get no gradient.

    ``F.normalize`` would multiply the gradient of a zero vector by 1e12.
    """
    length = vector_norm(vectors, dim=dim, keepdim=True)
    is_zero = length == 0
    result: Tensor = vectors.masked_fill(is_zero, 0.0) / length.masked_fill(is_zero, 1.0)
    return result


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that uses its running statistics if a batch has one value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)
