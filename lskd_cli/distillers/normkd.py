"""NormKD: normalized logits for knowledge distillation (Chi et al., arXiv:2308.00520).

    loss = ce_weight * CE(s, y)
         + kd_weight * (t_norm * std(t))^2
           * KL(softmax(t / (t_norm * std(t))) || softmax(s / (t_norm * std(s))))

Deviations are those of each sample. Logit standardization weighs all samples by one factor, the
temperature squared; here those that the teacher is sure of weigh more.
"""

import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import NormKDMethod
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.zscore import standardize


def normkd_loss(student: Tensor, teacher: Tensor, t_norm: float) -> Tensor:
    """The divergence at the temperatures of the deviations, weighted; mean over the batch.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        t_norm: above 0, in units of the (unbiased) deviations.

    Returns:
        Scalar, at least float32.
    """
    divergence = F.kl_div(
        F.log_softmax(standardize(student, 0.0) / t_norm, dim=1),
        F.log_softmax(standardize(teacher, 0.0) / t_norm, dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)
    variance = at_least_float32(teacher).var(dim=1)
    return t_norm**2 * (variance * divergence).mean()


class NormKD(LogitDistiller):
    """Cross entropy and ``normkd_loss`` on the weak view."""

    method: NormKDMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return normkd_loss(student, teacher, self.method.t_norm)
