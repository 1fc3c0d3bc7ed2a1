"""KDSVD: distillation by singular value decomposition (Lee et al., ECCV 2018, arXiv:1807.06819).

    loss = ce_weight * CE(s, y)
         + feature_weight * sum over neighbouring stages of |R_s - R_t|^2, mean over the batch

A stage is summed up by the k first right singular vectors of its map as a matrix of all its rows,
(C * H, W), as the released code decomposes it. R holds what a radial basis function,
exp(-d^2 / 8), makes of the differences between all entries of a stage's vectors and all of those of
the stage before.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import KDSVDMethod
from lskd_cli.distillers.base import Step
from lskd_cli.distillers.features import (
    FeatureDistiller,
    Pair,
    matched,
    of_one_size,
    stages,
)
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_MORE = 3  # singular vectors of the student among which the teacher's are looked for
_WIDTH = 8.0
_SAME = 1e-6  # share of the largest eigenvalue within which two are the same


def kdsvd_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], k: int = 1) -> Tensor:
    """Squared differences of relations between neighbouring stages, mean over the batch.

    Args:
        student: (B, C, H, W) maps, of two stages or more.
        teacher: (B, C', H', W') maps; the larger one of a stage is averaged to the smaller's size.
        k: singular vectors of a stage.

    Returns:
        Scalar, at least float32.
    """
    summaries = [_summaries(*pair, k) for pair in zip(student, teacher, strict=True)]
    losses = []
    for before, here in pairwise(summaries):
        ours, theirs = (_relations(*both) for both in zip(before, here, strict=True))
        losses.append((ours - theirs).square().sum() / len(ours))
    return torch.stack(losses).sum()


def _summaries(student: Tensor, teacher: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, W, k) singular vectors of both, weighted by the teacher's singular values."""
    ours, theirs = (map_.flatten(1, 2) for map_ in of_one_size(student, teacher))
    with torch.no_grad():
        goal, values = _first_vectors(theirs, k)
    weights = F.normalize(values, dim=1)[:, None]
    return _aligned(_FirstVectors.apply(ours, k + _MORE), goal) * weights, goal * weights


def _aligned(vectors: Tensor, goal: Tensor) -> Tensor:
    """For each vector of the goal the nearest one of the student's, turned to its side."""
    cosines = vectors.transpose(1, 2) @ goal
    nearest = cosines.abs().argmax(dim=1, keepdim=True)
    sides = cosines.gather(1, nearest).sign().detach()
    chosen = vectors.gather(2, nearest.expand(-1, vectors.shape[1], -1))
    return chosen * sides


def _relations(before: Tensor, here: Tensor) -> Tensor:
    """(B, N, M, k) radial basis functions of (B, M, k) and (B, N, k)."""
    return torch.exp(-(here[:, :, None] - before[:, None]).square() / _WIDTH)


def _first_vectors(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, W, k) right singular vectors of (B, R, W) and (B, k) singular values; k at most W.

    A vector and its negative are as good; the one with the larger sum is taken.
    """
    vectors, squares = _decomposed(rows)
    vectors = vectors[..., :k]
    sides = torch.where(vectors.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return vectors * sides, squares[..., :k].clamp(min=0).sqrt()


def _decomposed(rows: Tensor) -> tuple[Tensor, Tensor]:
    """All right singular vectors of (B, R, W), and the squares of the singular values, falling."""
    gram = rows.transpose(1, 2) @ rows
    # Of a run that diverges cross entropy tells; eigh would only fail.
    gram = torch.where(gram.isfinite(), gram, 0.0)
    squares, vectors = torch.linalg.eigh(gram)
    return vectors.flip(-1), squares.flip(-1)


class _FirstVectors(torch.autograd.Function):
    """``_first_vectors`` whose gradient is finite where singular values are equal, or zero.

    With V the eigenvectors of X^T X and l its eigenvalues, a change of X moves v_i by
    sum over j of v_j (v_j . d(X^T X) v_i) / (l_i - l_j). Where the difference d is nearly none,
    1 / d is taken as d / (d^2 + e^2).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, k: int) -> Tensor:
        vectors, _ = _first_vectors(rows, k)
        ctx.save_for_backward(rows, vectors)
        return vectors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows, vectors = ctx.saved_tensors
        basis, squares = _decomposed(rows)
        limit = (_SAME * squares[:, :1, None]).clamp(min=torch.finfo(squares.dtype).tiny)
        differences = (squares[:, None, : vectors.shape[2]] - squares[..., None]) / limit
        inverse = differences / (differences.square() + 1) / limit
        moved = basis @ (basis.transpose(1, 2) @ gradients[0] * inverse)
        # The gradient of X^T X is the symmetric part of moved v^T; that of X is 2 X times it.
        along = (rows @ moved) @ vectors.transpose(1, 2)
        return along + (rows @ vectors) @ moved.transpose(1, 2), None


class KDSVD(FeatureDistiller):
    """Cross entropy and ``kdsvd_loss`` of all stages."""

    reads = ("feats",)
    recordable = False  # PyTorch's eigh sees whether it has converged
    method: KDSVDMethod

    def __init__(self, method: KDSVDMethod, standardized: bool, pair: Pair) -> None:
        """See that there are two stages to relate.

        Raises:
            RequestError: a network has one.
        """
        super().__init__(method, standardized, pair)
        if min(len(stages(pair.student)), len(stages(pair.teacher))) < 2:
            raise RequestError("method kdsvd relates neighbouring stages; a network has one alone")

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        return kdsvd_loss(*matched(stages(student), stages(teacher)), self.method.k)
