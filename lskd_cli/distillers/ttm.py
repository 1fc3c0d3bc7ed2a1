"""TTM: transformed teacher matching (Zheng and Yang, ICLR 2024, arXiv:2402.11148).

    loss = ce_weight * CE(s, y) + kd_weight * KL(q || softmax(s)),  q = softmax(t)^gamma / U
    U = sum over the classes of softmax(t)^gamma

Only the teacher is softened, by a power gamma (that is, with temperature 1 / gamma).
"""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergences
from lskd_cli.distillers.registry import register


def ttm_loss(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """KL(q || softmax(s)), mean over the batch.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        gamma: power of the teacher's probabilities, above 0.

    Returns:
        Scalar, at least float32.
    """
    return transformed_divergences(student, teacher, gamma).mean()


def transformed_divergences(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """(B,) KL(q || softmax(s)) of each sample; q is the softmax of gamma * t."""
    return kl_divergences(at_least_float32(student), gamma * at_least_float32(teacher))


class TTMConfig(MethodConfig):
    """Hyper-parameters of TTM."""

    search_fields: ClassVar[tuple[str, ...]] = ("gamma", "kd_weight")
    name: Literal["ttm"]
    gamma: PositiveFloat  # power of the teacher's probabilities
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(TTMConfig)
class TTM(LogitDistiller):
    """Cross entropy and ``ttm_loss`` on the weak view."""

    config: TTMConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return ttm_loss(student, teacher, self.config.gamma)
