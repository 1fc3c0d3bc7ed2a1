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
from lskd_cli.distillers.base import Distiller, Step, at_least_float32
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
    own = F.log_softmax(teacher / alpha_temperature, dim=1)
    answer = own.argmax(dim=1)
    scd = F.kl_div(
        _two_way(F.log_softmax(student / alpha_temperature, dim=1), target),
        _two_way(own, answer),
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


def _two_way(log_probabilities: Tensor, index: Tensor) -> Tensor:
    """(B, 2) log-probabilities of one class and of all others together."""
    one = log_probabilities.gather(1, index[:, None])
    others = log_probabilities.scatter(1, index[:, None], -torch.inf)
    return torch.cat([one, others.logsumexp(dim=1, keepdim=True)], dim=1)


class RLD(Distiller):
    """Cross entropy and ``rld_loss`` on the weak view; the latter grows over the first epochs."""

    def __init__(self, method: RLDMethod, standardized: bool) -> None:
        super().__init__()
        self.method = method
        self.standardized = standardized

    def losses(self, step: Step) -> dict[str, Tensor]:
        method = self.method
        student, teacher = step.student["weak"].logits, step.teacher["weak"].logits
        ce = F.cross_entropy(at_least_float32(student), step.target)
        rld = rld_loss(
            student,
            teacher,
            step.target,
            method.kd_weight * method.alpha,
            method.kd_weight * method.beta,
            method.temperature,
            method.alpha_temperature,
            self.standardized,
        )
        return {
            "ce": method.ce_weight * ce,
            "rld": (step.epoch / method.warmup).clamp(max=1.0) * rld,
        }
