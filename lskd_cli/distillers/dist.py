"""DIST: knowledge distillation from a stronger teacher (Huang et al., NeurIPS 2022).

arXiv:2205.10536.

    loss = ce_weight * CE(s, y)
         + kd_weight * (beta * (1 - mean row Pearson(p_s, p_t))
                        + gamma * (1 - mean column Pearson(p_s, p_t)))

Pearson correlations replace the divergence: over the classes of each sample (rows), and over the
samples for each class (columns).
"""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat
from torch import Tensor
from torch.linalg import vector_norm

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.distillers.registry import register

_EPS = 1e-8  # added to the product of the norms, as in the released code


def dist_loss(student: Tensor, teacher: Tensor, beta: float, gamma: float) -> Tensor:
    """Weighted correlation distances between the softmax outputs.

    Args:
        student: (B, C) logits.
        teacher: (B, C) logits.
        beta: weight of the correlation over classes, averaged over the samples.
        gamma: weight of the correlation over samples, averaged over the classes.

    Returns:
        Scalar, at least float32. Constant rows or columns, as in a batch of one, have correlation
        zero.
    """
    p_s = at_least_float32(student).softmax(dim=1)
    p_t = at_least_float32(teacher).softmax(dim=1)
    rows, columns = _pearson(p_s, p_t), _pearson(p_s.T, p_t.T)
    return beta * (1 - rows.mean()) + gamma * (1 - columns.mean())


def _pearson(first: Tensor, second: Tensor) -> Tensor:
    """(N,) Pearson correlations between the rows of two (N, M) matrices."""
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    norms: Tensor = vector_norm(first, dim=1) * vector_norm(second, dim=1)
    return (first * second).sum(dim=1) / (norms + _EPS)


class DISTConfig(MethodConfig):
    """Hyper-parameters of DIST."""

    uses_batch_relations: ClassVar[bool] = True
    name: Literal["dist"]
    beta: NonNegativeFloat  # weight of the correlation over the classes of a sample
    gamma: NonNegativeFloat  # weight of the correlation over the samples for a class
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0


@register(DISTConfig)
class DIST(LogitDistiller):
    """Cross entropy and ``dist_loss`` on the weak view."""

    config: DISTConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return dist_loss(student, teacher, self.config.beta, self.config.gamma)
