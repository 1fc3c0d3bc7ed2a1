"""ABKD: distillation with the alpha-beta divergence (Wang et al., ICML 2025, arXiv:2505.04560).

    loss = ce_weight * CE(s, y) + kd_weight * T^2 * D(softmax(t / T), softmax(s / T))

    D(p, q) = sum over classes of [a/(a+b) p^(a+b) + b/(a+b) q^(a+b) - p^a q^b] / (a b)

with a = alpha and b = beta. The limits for a = 0, b = 0 or a + b = 0 belong to it: D is KL(p, q)
for (1, 0) and KL(q, p) for (0, 1).
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import FiniteFloat, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize

_MIN_PRODUCT = 0.05  # of |alpha * beta| and |alpha + beta|; smaller ones cancel in float32


def abkd_loss(
    student: Tensor,
    teacher: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    standardized: bool = False,
) -> Tensor:
    """T^2 * D(softmax(t / T), softmax(s / T)), mean over the batch.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        alpha: exponent of the teacher's probabilities.
        beta: exponent of the student's probabilities.
        temperature: above 0.
        standardized: standardize both logits first.

    Returns:
        Scalar, at least float32. The released code has no factor T^2; its weight contains it.
    """
    scale = standardize if standardized else at_least_float32
    log_p = F.log_softmax(scale(teacher) / temperature, dim=1)
    log_q = F.log_softmax(scale(student) / temperature, dim=1)
    return temperature**2 * _divergence(log_p, log_q, alpha, beta).sum(dim=1).mean()


def _divergence(log_p: Tensor, log_q: Tensor, a: float, b: float) -> Tensor:
    """The terms of D, from logarithms of probabilities."""
    if a == b == 0:
        return (log_p - log_q).square() / 2
    if a == 0:
        return _divergence(log_q, log_p, b, a)
    if b == 0:
        p, q = (a * log_p).exp(), (a * log_q).exp()
        return (p * a * (log_p - log_q) - p + q) / a**2
    if a + b == 0:
        log_ratio = a * (log_p - log_q)
        return (log_ratio.exp() - log_ratio - 1) / a**2
    total = a + b
    p, q = (total * log_p).exp(), (total * log_q).exp()
    return (a / total * p + b / total * q - (a * log_p + b * log_q).exp()) / (a * b)


class ABKDConfig(MethodConfig):
    """Hyper-parameters of ABKD."""

    name: Literal["abkd"]
    temperature: PositiveFloat
    alpha: FiniteFloat
    beta: FiniteFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat

    @model_validator(mode="after")
    def _check_cancellation(self) -> "ABKDConfig":
        for value in (self.alpha * self.beta, self.alpha + self.beta):
            if 0 < abs(value) < _MIN_PRODUCT:
                raise ValueError(
                    "alpha, beta: their product and their sum must be 0, or at least "
                    f"{_MIN_PRODUCT} in magnitude"
                )
        return self


@register(ABKDConfig)
class ABKD(LogitDistiller):
    """Cross entropy and ``abkd_loss`` on the weak view."""

    config: ABKDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        config = self.config
        return abkd_loss(
            student, teacher, config.alpha, config.beta, config.temperature, self.standardized
        )
