"""KD: knowledge distillation (Hinton et al., arXiv:1503.02531).

    loss = ce_weight * CE(s, y) + kd_weight * T^2 * KL(softmax(t / T) || softmax(s / T))

With logit standardization (Sun et al., CVPR 2024), s and t are standardized first.
"""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergence, kl_divergences
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def kd_loss(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor,
    standardized: bool = False,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """T^2 * KL(softmax(t / T) || softmax(s / T)) over the last dimension.

    Args:
        student: (B, C) logits, or (..., C) such as (B, T, C) of a sequence.
        teacher: logits of the same shape.
        temperature: above 0; a scalar tensor if it is learned.
        standardized: standardize both logits first; the temperature is then the base temperature.
        reduction: mean or sum over all dimensions but the classes, or none.

    Returns:
        Scalar, or (...) with ``reduction="none"``, at least float32. The factor T^2 keeps the
        magnitude of the gradient when T changes (section 2 of the paper).
    """
    scale = standardize if standardized else at_least_float32
    student, teacher = scale(student), scale(teacher)
    student, teacher = student / temperature, teacher / temperature
    if reduction == "mean":
        return kl_divergence(student, teacher) * temperature**2
    divergences = kl_divergences(student, teacher) * temperature**2
    return divergences if reduction == "none" else divergences.sum()


class KDConfig(MethodConfig):
    """Hyper-parameters of KD."""

    name: Literal["kd"]
    temperature: PositiveFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(KDConfig)
class KD(LogitDistiller):
    """Cross entropy and ``kd_loss`` on the weak view."""

    config: KDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return kd_loss(student, teacher, self.config.temperature, self.standardized)
