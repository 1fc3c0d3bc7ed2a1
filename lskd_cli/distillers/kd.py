"""KD: knowledge distillation (Hinton et al., arXiv:1503.02531).

    loss = ce_weight * CE(s, y) + kd_weight * T^2 * KL(softmax(t / T) || softmax(s / T))

with s and t standardized first where asked (Sun et al., CVPR 2024).
"""

import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import KDMethod
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.zscore import standardize


def kd_loss(
    student: Tensor, teacher: Tensor, temperature: float | Tensor, standardized: bool = False
) -> Tensor:
    """T^2 * KL(softmax(t / T) || softmax(s / T)), mean over the batch.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        temperature: above 0; a scalar tensor where it is learned.
        standardized: z-score both logits first; the temperature is then the base temperature.

    Returns:
        Scalar, at least float32. The factor T^2 keeps the gradient's size when T changes
        (section 2 of the paper).
    """
    student, teacher = soften(student, standardized), soften(teacher, standardized)
    divergence = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


def soften(logits: Tensor, standardized: bool) -> Tensor:
    """Logits in at least float32, z-scored where asked: what every softmax here starts from."""
    return standardize(logits) if standardized else at_least_float32(logits)


class KD(LogitDistiller):
    """Cross entropy and ``kd_loss`` on the weak view."""

    method: KDMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return kd_loss(student, teacher, self.method.temperature, self.standardized)
