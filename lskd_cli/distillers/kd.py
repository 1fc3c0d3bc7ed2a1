"""KD: knowledge distillation (Hinton et al., arXiv:1503.02531).

    loss = ce_weight * CE(s, y) + kd_weight * T^2 * KL(softmax(t / T) || softmax(s / T))

With logit standardization (Sun et al., CVPR 2024), s and t are standardized first.
"""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergence
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def kd_loss(
    student: Tensor, teacher: Tensor, temperature: float | Tensor, standardized: bool = False
) -> Tensor:
    """T^2 * KL(softmax(t / T) || softmax(s / T)), mean over the batch.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        temperature: above 0; a scalar tensor if it is learned.
        standardized: standardize both logits first; the temperature is then the base temperature.

    Returns:
        Scalar, at least float32. The factor T^2 keeps the magnitude of the gradient when T
        changes (section 2 of the paper).
    """
    scale = standardize if standardized else at_least_float32
    student, teacher = scale(student), scale(teacher)
    divergence = kl_divergence(student / temperature, teacher / temperature)
    return divergence * temperature**2


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
