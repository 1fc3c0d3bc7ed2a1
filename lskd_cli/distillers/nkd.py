"""NKD: normalized knowledge distillation (Yang et al., ICCV 2023, arXiv:2303.13005).

    loss = ce_weight * CE(s, y) + kd_weight * (target + gamma * T^2 * others)

target is the cross entropy of the target class, weighted with the teacher's probability of it.
others is the cross entropy over the other classes at temperature T, each distribution normalized
without the target.
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.distillers.dkd import drop_target
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def nkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    temperature: float,
    gamma: float,
    standardized: bool = False,
) -> Tensor:
    """-p_t(y) * log p_s(y) - gamma * T^2 * sum over other classes of p_t * log p_s, batch mean.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        target: (B,) class indices.
        temperature: T of the other classes, above 0; the target's probabilities are those at 1.
        gamma: weight of the other classes.
        standardized: standardize the logits of the other classes' term. The target's term keeps the
            plain ones, as it has no temperature.

    Returns:
        Scalar, at least float32.
    """
    loss = target_cross_entropy(student, teacher, target)
    scale = standardize if standardized else at_least_float32
    student, teacher = scale(student) / temperature, scale(teacher) / temperature
    p = F.softmax(drop_target(teacher, target), dim=1)
    others = -(p * F.log_softmax(drop_target(student, target), dim=1)).sum(dim=1).mean()
    return loss + gamma * temperature**2 * others


def target_cross_entropy(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """-p_t(y) * log p_s(y) of (B, C) logits and (B,) class indices, mean over the batch."""
    p = F.softmax(at_least_float32(teacher), dim=1)
    log_q = F.log_softmax(at_least_float32(student), dim=1)
    return -(p * log_q).gather(1, target[:, None]).mean()


class NKDConfig(MethodConfig):
    """Hyper-parameters of NKD; kd_weight multiplies both terms."""

    name: Literal["nkd"]
    temperature: PositiveFloat
    gamma: NonNegativeFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0


@register(NKDConfig)
class NKD(LogitDistiller):
    """Cross entropy and ``nkd_loss`` on the weak view."""

    config: NKDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        config = self.config
        return nkd_loss(
            student, teacher, target, config.temperature, config.gamma, self.standardized
        )
