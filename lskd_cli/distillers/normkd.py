"""NormKD: normalized logits for knowledge distillation (Chi et al., arXiv:2308.00520).

    loss = ce_weight * CE(s, y)
         + kd_weight * (t_norm * std(t))^2
           * KL(softmax(t / (t_norm * std(t))) || softmax(s / (t_norm * std(s))))

std is taken over the classes of each sample. Logit standardization multiplies all samples by the
same squared temperature; here, samples with larger teacher logits have a larger weight.
"""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergences
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def normkd_loss(student: Tensor, teacher: Tensor, t_norm: float) -> Tensor:
    """KL at temperatures proportional to the standard deviations, weighted; mean over the batch.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        t_norm: above 0, in multiples of the (unbiased) standard deviation.

    Returns:
        Scalar, at least float32.
    """
    divergence = kl_divergences(
        standardize(student, 0.0) / t_norm, standardize(teacher, 0.0) / t_norm
    )
    variance = at_least_float32(teacher).var(dim=1)
    return t_norm**2 * (variance * divergence).mean()


class NormKDConfig(MethodConfig):
    """Hyper-parameters of NormKD."""

    search_fields: ClassVar[tuple[str, ...]] = ("t_norm", "kd_weight")
    name: Literal["normkd"]
    t_norm: PositiveFloat  # temperature in multiples of the standard deviation
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(NormKDConfig)
class NormKD(LogitDistiller):
    """Cross entropy and ``normkd_loss`` on the weak view."""

    config: NormKDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return normkd_loss(student, teacher, self.config.t_norm)
