"""DKD: decoupled knowledge distillation (Zhao et al., CVPR 2022, arXiv:2203.08679).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * kd_weight * T^2 * (alpha * TCKD + beta * NCKD)

TCKD is the KL divergence between the binary distributions (target, all other classes). NCKD is the
KL divergence over the non-target classes only, each distribution normalized without the target.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergence, kl_divergences
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    standardized: bool = False,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """T^2 * (alpha * TCKD + beta * NCKD), mean over the batch.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        target: (B,) class indices.
        alpha: weight of TCKD.
        beta: weight of NCKD.
        temperature: above 0.
        standardized: standardize both logits first.
        reduction: mean over the batch, or none.

    Returns:
        Scalar, or (B,) with ``reduction="none"``, at least float32. It is computed in log space:
        the logarithm of a summed softmax, as in the released code, is -inf for confident rows.
    """
    scale = standardize if standardized else at_least_float32
    student, teacher = scale(student) / temperature, scale(teacher) / temperature
    student_rest, teacher_rest = drop_target(student, target), drop_target(teacher, target)
    divergence = kl_divergence if reduction == "mean" else kl_divergences
    tckd = divergence(
        binary_logits(student, student_rest, target), binary_logits(teacher, teacher_rest, target)
    )
    nckd = divergence(student_rest, teacher_rest)
    return temperature**2 * (alpha * tckd + beta * nckd)


def drop_target(logits: Tensor, target: Tensor) -> Tensor:
    """(B, C - 1): each row of (B, C) logits without its target."""
    index = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, index + (index >= target[:, None]))


def binary_logits(logits: Tensor, rest: Tensor, target: Tensor) -> Tensor:
    """(B, 2) logits of the target and of all other classes together.

    Args:
        logits: (B, C).
        rest: (B, C - 1) of ``drop_target``.
        target: (B,) class indices.
    """
    binary = [logits.gather(1, target[:, None]), rest.logsumexp(dim=1, keepdim=True)]
    return torch.cat(binary, dim=1)


class DKDSettings(MethodConfig):
    """Hyper-parameters of ``dkd_loss`` in a method; kd_weight multiplies alpha and beta."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("warmup",)
    temperature: PositiveFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0
    alpha: NonNegativeFloat
    beta: NonNegativeFloat
    warmup: PositiveInt  # epochs of linear warm-up of the distillation loss


class DKDConfig(DKDSettings):
    """Hyper-parameters of DKD."""

    name: Literal["dkd"]


@register(DKDConfig)
class DKD(LogitDistiller):
    """Cross entropy and ``dkd_loss`` on the weak view, the latter with a linear warm-up."""

    config: DKDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        config = self.config
        return dkd_loss(
            student,
            teacher,
            target,
            config.alpha,
            config.beta,
            config.temperature,
            self.standardized,
        )
