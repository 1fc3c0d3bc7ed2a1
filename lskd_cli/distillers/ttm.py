"""TTM and WTTM: transformed teacher matching (Zheng and Yang, ICLR 2024, arXiv:2402.11148).

    loss = ce_weight * CE(s, y) + kd_weight * KL(q || softmax(s)),  q = softmax(t)^gamma / U
    U = sum over the classes of softmax(t)^gamma

The teacher alone is softened, by a power gamma (a temperature of 1 / gamma). WTTM multiplies each
sample's divergence with its U: smooth teachers weigh more.
"""

import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import TTMMethod, WTTMMethod
from lskd_cli.distillers.base import LogitDistiller, at_least_float32


def ttm_loss(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """KL(q || softmax(s)), mean over the batch.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        gamma: power of the teacher's probabilities, above 0.

    Returns:
        Scalar, at least float32.
    """
    return _divergences(student, teacher, gamma).mean()


def wttm_loss(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """U * KL(q || softmax(s)), mean over the batch; arguments as of ``ttm_loss``."""
    powers = gamma * F.log_softmax(at_least_float32(teacher), dim=1)
    return (powers.logsumexp(dim=1).exp() * _divergences(student, teacher, gamma)).mean()


def _divergences(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """(B,) of each sample; the power, renormalized, is the softmax of gamma * t."""
    return F.kl_div(
        F.log_softmax(at_least_float32(student), dim=1),
        F.log_softmax(gamma * at_least_float32(teacher), dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)


class TTM(LogitDistiller):
    """Cross entropy and ``ttm_loss``, or ``wttm_loss``, on the weak view."""

    method: TTMMethod | WTTMMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        loss = {"ttm": ttm_loss, "wttm": wttm_loss}[self.method.name]
        return loss(student, teacher, self.method.gamma)
