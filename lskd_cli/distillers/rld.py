"""RLD: refined logit distillation (Sun et al., arXiv:2408.07703).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * kd_weight * (alpha * A^2 * SCD + beta * T^2 * MCD)

SCD (sample confidence distillation) is the KL divergence between binary distributions at
temperature A: the teacher's prediction against the rest, and the student's target against the rest.
MCD (masked correlation distillation) is the KL divergence at T over the classes that the teacher
ranks below the target. The student thus never learns a wrong prediction of the teacher.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32, kl_divergence
from lskd_cli.distillers.dkd import binary_logits, drop_target
from lskd_cli.distillers.registry import register
from lskd_cli.zscore import standardize


def rld_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    alpha_temperature: float,
    standardized: bool = False,
) -> Tensor:
    """Alpha * A^2 * SCD + beta * T^2 * MCD, mean over the batch.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        target: (B,) class indices.
        alpha: weight of SCD.
        beta: weight of MCD.
        temperature: T, above 0.
        alpha_temperature: A, above 0.
        standardized: standardize both logits first.

    Returns:
        Scalar, at least float32. MCD is zero for a sample whose target the teacher ranks last.
    """
    scale = standardize if standardized else at_least_float32
    student, teacher = scale(student), scale(teacher)
    scaled_student, scaled_teacher = student / alpha_temperature, teacher / alpha_temperature
    prediction = scaled_teacher.argmax(dim=1)
    scd = kl_divergence(
        binary_logits(scaled_student, drop_target(scaled_student, target), target),
        binary_logits(scaled_teacher, drop_target(scaled_teacher, prediction), prediction),
    )
    below = teacher < teacher.gather(1, target[:, None])
    # The floor is finite, since a difference of two infinities is NaN.
    floor = torch.finfo(teacher.dtype).min / 2
    log_p = F.log_softmax((teacher / temperature).masked_fill(~below, floor), dim=1)
    log_q = F.log_softmax((student / temperature).masked_fill(~below, floor), dim=1)
    terms = log_p.exp() * (log_p - log_q)
    mcd = terms.masked_fill(~below, 0.0).sum(dim=1).mean()
    return alpha * alpha_temperature**2 * scd + beta * temperature**2 * mcd


class RLDConfig(MethodConfig):
    """Hyper-parameters of RLD; kd_weight multiplies alpha and beta."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("warmup",)
    name: Literal["rld"]
    temperature: PositiveFloat
    alpha_temperature: PositiveFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0
    alpha: NonNegativeFloat
    beta: NonNegativeFloat
    warmup: PositiveInt  # epochs of linear warm-up of the distillation loss


@register(RLDConfig)
class RLD(LogitDistiller):
    """Cross entropy and ``rld_loss`` on the weak view, the latter with a linear warm-up."""

    config: RLDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        config = self.config
        return rld_loss(
            student,
            teacher,
            target,
            config.alpha,
            config.beta,
            config.temperature,
            config.alpha_temperature,
            self.standardized,
        )
