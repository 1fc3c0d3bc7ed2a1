"""RLD: refined logit distillation (Sun et al., arXiv:2408.07703).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * kd_weight * (alpha * A^2 * SCD + beta * T^2 * MCD)

SCD (sample confidence) is the KL divergence of two-way distributions at temperature A: the
teacher's of its own answer against the rest, the student's of the target against the rest. MCD
(masked correlation) is the one over the classes that the teacher puts below the target, at T. A
teacher that is wrong is so not taken at its word.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import RLDMethod
from lskd_cli.distillers.base import LogitDistiller
from lskd_cli.distillers.dkd import others_of, two_way
from lskd_cli.distillers.kd import soften


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
        standardized: z-score both logits first.

    Returns:
        Scalar, at least float32. A sample whose target the teacher puts last has no MCD.
    """
    student, teacher = soften(student, standardized), soften(teacher, standardized)
    scaled_student, scaled_teacher = student / alpha_temperature, teacher / alpha_temperature
    answer = scaled_teacher.argmax(dim=1)
    scd = F.kl_div(
        two_way(scaled_student, others_of(scaled_student, target), target),
        two_way(scaled_teacher, others_of(scaled_teacher, answer), answer),
        reduction="batchmean",
        log_target=True,
    )
    below = teacher < teacher.gather(1, target[:, None])
    # A finite floor: differences of two infinities would be no number.
    floor = torch.finfo(teacher.dtype).min / 2
    log_p = F.log_softmax((teacher / temperature).masked_fill(~below, floor), dim=1)
    log_q = F.log_softmax((student / temperature).masked_fill(~below, floor), dim=1)
    terms = log_p.exp() * (log_p - log_q)
    mcd = terms.masked_fill(~below, 0.0).sum(dim=1).mean()
    return alpha * alpha_temperature**2 * scd + beta * temperature**2 * mcd


class RLD(LogitDistiller):
    """Cross entropy and ``rld_loss`` on the weak view; the latter grows over the first epochs."""

    method: RLDMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        method = self.method
        return rld_loss(
            student,
            teacher,
            target,
            method.alpha,
            method.beta,
            method.temperature,
            method.alpha_temperature,
            self.standardized,
        )
