"""DKD: decoupled knowledge distillation (Zhao et al., CVPR 2022, arXiv:2203.08679).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * kd_weight * T^2 * (alpha * TCKD + beta * NCKD)

TCKD is the KL divergence between the two-way distributions (target, all other classes); NCKD the
one over the other classes alone, each normalized without the target.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import DKDMethod
from lskd_cli.distillers.base import LogitDistiller
from lskd_cli.distillers.kd import soften


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    standardized: bool = False,
) -> Tensor:
    """T^2 * (alpha * TCKD + beta * NCKD), mean over the batch.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        target: (B,) class indices.
        alpha: weight of TCKD.
        beta: weight of NCKD.
        temperature: above 0.
        standardized: z-score both logits first.

    Returns:
        Scalar, at least float32. Everything stays in log space: the logarithm of a summed softmax,
        as the released code has it, is -inf on confident rows.
    """
    student = soften(student, standardized) / temperature
    teacher = soften(teacher, standardized) / temperature
    student_others, teacher_others = others_of(student, target), others_of(teacher, target)
    tckd = F.kl_div(
        two_way(student, student_others, target),
        two_way(teacher, teacher_others, target),
        reduction="batchmean",
        log_target=True,
    )
    nckd = F.kl_div(
        F.log_softmax(student_others, dim=1),
        F.log_softmax(teacher_others, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * (alpha * tckd + beta * nckd)


def others_of(logits: Tensor, target: Tensor) -> Tensor:
    """(B, C) to (B, C - 1): each row without its target."""
    index = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, index + (index >= target[:, None]))


def two_way(logits: Tensor, others: Tensor, target: Tensor) -> Tensor:
    """(B, 2) log-probabilities of the target and of all other classes together."""
    of_target = logits.gather(1, target[:, None])
    return F.log_softmax(
        torch.cat([of_target, others.logsumexp(dim=1, keepdim=True)], dim=1), dim=1
    )


class DKD(LogitDistiller):
    """Cross entropy and ``dkd_loss`` on the weak view; the latter grows over the first epochs."""

    method: DKDMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        method = self.method
        return dkd_loss(
            student,
            teacher,
            target,
            method.alpha,
            method.beta,
            method.temperature,
            self.standardized,
        )
