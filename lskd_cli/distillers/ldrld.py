"""LDRLD: local dense relational logit distillation (Xu et al., ICCV 2025, arXiv:2507.15911).

    loss = ce_weight * CE(s, y) + kd_weight * T^2 * (alpha * local + beta * rest)

local compares all pairs among the k classes that the student ranks first, and these k classes
together; rest compares all other classes.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergence, kl_divergences
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def ldrld_loss(
    student: Tensor,
    teacher: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    k: int,
    standardized: bool = False,
) -> Tensor:
    """T^2 * (alpha * local + beta * rest), mean over the batch.

    With KL(i, j) the KL divergence between the softmax outputs of the classes of ranks i and j::

        local = (sum over i < j of w(i, j) * KL(i, j) + KL(1, ..., k)) / (k * (k - 1) / 2 + 1)
        w(i, j) = 2 / (1.5 + j - i) * exp(-0.05 * (i + j))
        rest = KL(k + 1, ..., C)

    Args:
        student: (B, C) logits, whose order defines the ranks.
        teacher: (B, C) logits.
        alpha: weight of local.
        beta: weight of rest.
        temperature: above 0.
        k: number of classes that are compared in pairs, at least 2 and below C.
        standardized: standardize both logits first.

    Returns:
        Scalar, at least float32. For k = 2, KL(1, 2) has the weight w in both places.

    Raises:
        ValueError: k is not below C.
    """
    if k >= student.shape[1]:
        raise ValueError(f"k: must be below the number of classes ({student.shape[1]}), not {k}")
    scale = standardize if standardized else at_least_float32
    order = student.argsort(dim=1, descending=True)
    student = (scale(student) / temperature).gather(1, order)
    teacher = (scale(teacher) / temperature).gather(1, order)
    first, second = torch.triu_indices(k, k, offset=1, device=student.device)
    weights = 2 / (1.5 + second - first) * torch.exp(-0.05 * (first + second + 2))
    pairs = [torch.stack([z[:, first], z[:, second]], dim=2) for z in (student, teacher)]
    pair_sum = (weights * kl_divergences(pairs[0], pairs[1])).sum(dim=1).mean()
    together = kl_divergence(student[:, :k], teacher[:, :k])
    if k == 2:
        together = 2 / 2.5 * math.exp(-0.05 * 3) * together
    local = (pair_sum + together) / (k * (k - 1) / 2 + 1)
    rest = kl_divergence(student[:, k:], teacher[:, k:])
    loss: Tensor = temperature**2 * (alpha * local + beta * rest)
    return loss


class LDRLDConfig(MethodConfig):
    """Hyper-parameters of LDRLD; kd_weight multiplies alpha and beta."""

    name: Literal["ldrld"]
    temperature: PositiveFloat
    alpha: NonNegativeFloat
    beta: NonNegativeFloat
    k: Annotated[int, Field(ge=2)]  # classes that are compared in pairs; below their number
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0

    def data_problem(self, num_classes: int, on_disk: bool) -> str | None:
        if self.k >= num_classes:
            return f"k: must be below the number of classes ({num_classes}), not {self.k}"
        return None


@register(LDRLDConfig)
class LDRLD(LogitDistiller):
    """Cross entropy and ``ldrld_loss`` on the weak view."""

    config: LDRLDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        config = self.config
        return ldrld_loss(
            student,
            teacher,
            config.alpha,
            config.beta,
            config.temperature,
            config.k,
            self.standardized,
        )
