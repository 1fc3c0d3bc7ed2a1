"""LumiNet: distillation of class perception (Hossain et al., arXiv:2310.03669).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * kd_weight * alpha^2 * KL(softmax(t' / T) || softmax(s' / T))

t' and s' are standardized per class, over the images of the batch.
"""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergence
from lskd_cli.distillers.registry import register

_EPS = 1e-5  # added to the variance


def luminet_loss(student: Tensor, teacher: Tensor, alpha: float, temperature: float) -> Tensor:
    """alpha^2 * KL between softmax outputs of logits standardized over the batch, batch mean.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        alpha: square root of the weight.
        temperature: above 0.

    Returns:
        Scalar, at least float32; zero for a batch of one image.
    """
    student, teacher = _standardize_over_batch(student), _standardize_over_batch(teacher)
    return alpha**2 * kl_divergence(student / temperature, teacher / temperature)


def _standardize_over_batch(logits: Tensor) -> Tensor:
    """Columns with mean 0 and variance 1 (biased, divisor B)."""
    centered = at_least_float32(logits)
    centered = centered - centered.mean(dim=0)
    return centered * (centered.square().mean(dim=0) + _EPS).rsqrt()


class LumiNetConfig(MethodConfig):
    """Hyper-parameters of LumiNet."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("warmup",)
    uses_batch_relations: ClassVar[bool] = True
    name: Literal["luminet"]
    temperature: PositiveFloat
    alpha: PositiveFloat  # square root of the weight
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0
    warmup: PositiveInt  # epochs of linear warm-up of the distillation loss


@register(LumiNetConfig)
class LumiNet(LogitDistiller):
    """Cross entropy and ``luminet_loss`` on the weak view, the latter with a linear warm-up."""

    config: LumiNetConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return luminet_loss(student, teacher, self.config.alpha, self.config.temperature)
