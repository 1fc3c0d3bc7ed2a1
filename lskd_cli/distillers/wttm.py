"""WTTM: weighted transformed teacher matching (Zheng and Yang, ICLR 2024, arXiv:2402.11148).

    loss = ce_weight * CE(s, y) + kd_weight * U * KL(q || softmax(s))

q and U are those of TTM: each sample's divergence is multiplied by its U, which is larger for
smoother teacher outputs.
"""

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.distillers.registry import register
from lskd_cli.distillers.ttm import transformed_divergences


def wttm_loss(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """U * KL(q || softmax(s)), mean over the batch; the arguments are those of ``ttm_loss``."""
    powers = gamma * F.log_softmax(at_least_float32(teacher), dim=1)
    weights = powers.logsumexp(dim=1).exp()
    return (weights * transformed_divergences(student, teacher, gamma)).mean()


class WTTMConfig(MethodConfig):
    """Hyper-parameters of WTTM."""

    search_fields: ClassVar[tuple[str, ...]] = ("gamma", "kd_weight")
    name: Literal["wttm"]
    gamma: PositiveFloat  # power of the teacher's probabilities
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(WTTMConfig)
class WTTM(LogitDistiller):
    """Cross entropy and ``wttm_loss`` on the weak view."""

    config: WTTMConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return wttm_loss(student, teacher, self.config.gamma)
