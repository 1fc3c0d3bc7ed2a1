"""DIST: knowledge distillation from a stronger teacher (Huang et al., NeurIPS 2022).

arXiv:2205.10536.

    loss = ce_weight * CE(s, y)
         + kd_weight * (beta * (1 - mean row Pearson(p_s, p_t))
                        + gamma * (1 - mean column Pearson(p_s, p_t)))

Correlations instead of values: of the classes of each sample (rows), of the samples for each class
(columns).
"""

from torch import Tensor
from torch.linalg import vector_norm

from lskd_cli.config import DISTMethod
from lskd_cli.distillers.base import LogitDistiller, at_least_float32

_EPS = 1e-8  # added to the product of the lengths, as released; of tiny columns it is felt


def dist_loss(student: Tensor, teacher: Tensor, beta: float, gamma: float) -> Tensor:
    """Weighted distances of correlation between the softmaxes.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        beta: weight of the correlation over classes, mean over the samples.
        gamma: weight of the correlation over samples, mean over the classes.

    Returns:
        Scalar, at least float32. Constant rows or columns, as of a batch of one, correlate with
        nothing.
    """
    p_s = at_least_float32(student).softmax(dim=1)
    p_t = at_least_float32(teacher).softmax(dim=1)
    of_classes, of_samples = _pearson(p_s, p_t), _pearson(p_s.T, p_t.T)
    return beta * (1 - of_classes.mean()) + gamma * (1 - of_samples.mean())


def _pearson(first: Tensor, second: Tensor) -> Tensor:
    """(N,) correlations of the rows of (N, M)."""
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    lengths: Tensor = vector_norm(first, dim=1) * vector_norm(second, dim=1)
    return (first * second).sum(dim=1) / (lengths + _EPS)


class DIST(LogitDistiller):
    """Cross entropy and ``dist_loss`` on the weak view."""

    method: DISTMethod

    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return dist_loss(student, teacher, self.method.beta, self.method.gamma)
