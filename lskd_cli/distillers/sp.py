"""SP: similarity-preserving distillation (Tung and Mori, ICCV 2019, arXiv:1907.09682).

    loss = ce_weight * CE(s, y) + feature_weight * |G_s - G_t|_F^2 / B^2

G is the (B, B) matrix of inner products of the images' last features, its rows of length 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lskd_cli.distillers.base import Step, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, unit
from lskd_cli.models import Output


def sp_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared differences of the similarities within a batch, sum over stages.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C', H', W') maps, of any sizes.

    Returns:
        Scalar, at least float32.
    """
    losses = [
        (_similarities(ours) - _similarities(theirs)).square().mean()
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(losses).sum()


def _similarities(feature: Tensor) -> Tensor:
    """(B, B) inner products of (B, C, H, W), rows of length 1."""
    flat = at_least_float32(feature).flatten(1)
    return unit(flat @ flat.T, dim=1)


class SP(FeatureDistiller):
    """Cross entropy and ``sp_loss`` of the last stage."""

    reads = ("feats",)

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        return sp_loss(student.feats[-1:], teacher.feats[-1:])
