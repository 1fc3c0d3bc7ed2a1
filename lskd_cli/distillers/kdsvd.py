"""KDSVD: distillation by singular value decomposition (Lee et al., ECCV 2018, arXiv:1807.06819).

    loss = ce_weight * CE(s, y)
         + feature_weight * sum over neighbouring stages of |R_s - R_t|^2, mean over the batch

A stage is summarized by the first k right singular vectors of its map as a (C * H, W) matrix, as in
the released code. R contains the radial basis function exp(-d^2 / 8) of the differences d between
all entries of the vectors of a stage and all entries of the vectors of the stage before.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs
from lskd_cli.distillers.features import (
    FeatureDistiller,
    FeatureSpec,
    match_spatial_size,
    match_stages,
    stages,
)
from lskd_cli.distillers.registry import register
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_EXTRA_VECTORS = 3  # additional singular vectors of the student to match with those of the teacher
_RBF_WIDTH = 8.0
_DEGENERACY_TOL = 1e-6  # eigenvalues closer than this fraction of the largest one count as equal


def kdsvd_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], k: int = 1) -> Tensor:
    """Squared differences of relations between neighbouring stages, mean over the batch.

    Args:
        student: (B, C, H, W) maps of at least two stages.
        teacher: (B, C', H', W') maps; in each stage, the larger map is average-pooled to the
            size of the smaller one.
        k: number of singular vectors per stage.

    Returns:
        Scalar, at least float32.
    """
    summaries = [_summaries(*pair, k) for pair in zip(student, teacher, strict=True)]
    losses = []
    for previous, current in pairwise(summaries):
        student_relations, teacher_relations = (
            _relations(*vectors) for vectors in zip(previous, current, strict=True)
        )
        difference = student_relations - teacher_relations
        losses.append(difference.square().sum() / len(difference))
    return torch.stack(losses).sum()


def _summaries(student: Tensor, teacher: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, W, k) singular vectors of both maps, weighted by the teacher's singular values."""
    student, teacher = (feature.flatten(1, 2) for feature in match_spatial_size(student, teacher))
    with torch.no_grad():
        teacher_vectors, values = _singular_vectors(teacher, k)
    weights = F.normalize(values, dim=1)[:, None]
    student_vectors = _align(_SingularVectors.apply(student, k + _EXTRA_VECTORS), teacher_vectors)
    return student_vectors * weights, teacher_vectors * weights


def _align(student: Tensor, teacher: Tensor) -> Tensor:
    """For each teacher vector, the nearest student vector with the sign of their cosine."""
    cosines = student.transpose(1, 2) @ teacher
    nearest = cosines.abs().argmax(dim=1, keepdim=True)
    signs = cosines.gather(1, nearest).sign().detach()
    selected = student.gather(2, nearest.expand(-1, student.shape[1], -1))
    return selected * signs


def _relations(previous: Tensor, current: Tensor) -> Tensor:
    """(B, N, M, k) radial basis functions of (B, M, k) and (B, N, k) vectors."""
    return torch.exp(-(current[:, :, None] - previous[:, None]).square() / _RBF_WIDTH)


def _singular_vectors(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """First (B, W, k) right singular vectors of (B, R, W) matrices and (B, k) singular values.

    The sign of a singular vector is arbitrary; it is chosen so that the sum is not negative.
    """
    vectors, squares = _decompose(matrix)
    vectors = vectors[..., :k]
    signs = torch.where(vectors.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return vectors * signs, squares[..., :k].clamp(min=0).sqrt()


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """All right singular vectors of (B, R, W) and the squared singular values, descending."""
    gram = matrix.transpose(1, 2) @ matrix
    # A diverged run is reported by its non-finite loss; eigh would only raise an error.
    gram = torch.where(gram.isfinite(), gram, 0.0)
    squares, vectors = torch.linalg.eigh(gram)
    return vectors.flip(-1), squares.flip(-1)


class _SingularVectors(torch.autograd.Function):
    """``_singular_vectors`` with a finite gradient for equal or zero singular values.

    With V the eigenvectors of X^T X and l its eigenvalues, a change of X moves v_i by
    sum over j of v_j (v_j . d(X^T X) v_i) / (l_i - l_j). If the difference d of two eigenvalues is
    almost zero, 1 / d is replaced by d / (d^2 + e^2).
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, k: int) -> Tensor:
        vectors, _ = _singular_vectors(matrix, k)
        ctx.save_for_backward(matrix, vectors)
        return vectors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        matrix, vectors = ctx.saved_tensors
        basis, squares = _decompose(matrix)
        limit = (_DEGENERACY_TOL * squares[:, :1, None]).clamp(min=torch.finfo(squares.dtype).tiny)
        differences = (squares[:, None, : vectors.shape[2]] - squares[..., None]) / limit
        inverse = differences / (differences.square() + 1) / limit
        moved = basis @ (basis.transpose(1, 2) @ gradients[0] * inverse)
        # The gradient of X^T X is the symmetric part of moved v^T; that of X is 2 X times it.
        first = (matrix @ moved) @ vectors.transpose(1, 2)
        return first + (matrix @ vectors) @ moved.transpose(1, 2), None


class KDSVDConfig(FeatureMethodConfig):
    """Hyper-parameters of KDSVD."""

    name: Literal["kdsvd"]
    k: PositiveInt = 1  # singular vectors per stage


@register(KDSVDConfig)
class KDSVD(FeatureDistiller):
    """Cross entropy and ``kdsvd_loss`` of all stages."""

    required_features = ("feats",)
    cuda_graph_safe = False  # torch.linalg.eigh reads from the device whether it converged
    config: KDSVDConfig

    def __init__(self, config: KDSVDConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Check that both networks have at least two stages.

        Raises:
            RequestError: a network has only one.
        """
        super().__init__(config, standardized, spec)
        if min(len(stages(spec.student)), len(stages(spec.teacher))) < 2:
            raise RequestError("method kdsvd needs networks with at least two stages")

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        return kdsvd_loss(*match_stages(stages(student), stages(teacher)), self.config.k)
