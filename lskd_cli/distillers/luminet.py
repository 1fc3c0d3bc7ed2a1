"""LumiNet: perception of classes over the batch (Hossain et al., arXiv:2310.03669).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * kd_weight * alpha^2 * KL(softmax(t' / T) || softmax(s' / T))

t' and s' are standardized too, but each class over the images of the batch.
"""

import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import LumiNetMethod
from lskd_cli.distillers.base import LogitDistiller, at_least_float32

_EPS = 1e-5  # added to the variance


def luminet_loss(student: Tensor, teacher: Tensor, alpha: float, temperature: float) -> Tensor:
    """alpha^2 * KL between softmaxes of logits standardized over the batch, mean over the batch.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        alpha: its square is the weight.
        temperature: above 0.

    Returns:
        Scalar, at least float32; zero for a batch of one image, which has no deviations.
    """
    return alpha**2 * F.kl_div(
        F.log_softmax(_over_batch(student) / temperature, dim=1),
        F.log_softmax(_over_batch(teacher) / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def _over_batch(logits: Tensor) -> Tensor:
    """Each column with mean 0 and variance (divisor B) near 1."""
    centred = at_least_float32(logits)
    centred = centred - centred.mean(dim=0)
    return centred * (centred.square().mean(dim=0) + _EPS).rsqrt()


class LumiNet(LogitDistiller):
    """Cross entropy and ``luminet_loss`` on the weak view; the latter grows at first."""

    method: LumiNetMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return luminet_loss(student, teacher, self.method.alpha, self.method.temperature)
