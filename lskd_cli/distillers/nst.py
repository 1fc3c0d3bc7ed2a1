"""NST: neuron selectivity transfer (Huang and Wang, arXiv:1707.01219).

    loss = ce_weight * CE(s, y) + feature_weight * sum over stages of MMD^2

MMD^2 = mean k(t, t') + mean k(s, s') - 2 mean k(s, t), the squared maximum mean discrepancy between
the sets of both networks' channels. A channel is its map as a vector of length 1, and k(x, y) =
(x . y)^2 the polynomial kernel of degree 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm

from lskd_cli.distillers.base import Step
from lskd_cli.distillers.features import FeatureDistiller, matched, of_one_size, stages
from lskd_cli.models import Output


def nst_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Squared discrepancies, mean over the batch, sum over stages.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C', H', W') maps; the larger one of a stage is averaged to the smaller's size.

    Returns:
        Scalar, at least float32.
    """
    losses = [_of_stage(*pair) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).sum()


def _of_stage(student: Tensor, teacher: Tensor) -> Tensor:
    ours, theirs = (feature.flatten(2) for feature in of_one_size(student, teacher))
    return _kernel(theirs, theirs) + _kernel(ours, ours) - 2 * _kernel(ours, theirs)


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean of k over the channels of (B, C, N) and (B, C', N), and over the batch."""
    # Lengths are divided out of the products, which are fewer than the values of the maps.
    lengths = _lengths(first)[:, :, None] * _lengths(second)[:, None]
    return (first @ second.transpose(1, 2) / lengths).square().mean()


def _lengths(channels: Tensor) -> Tensor:
    """(B, C) lengths of (B, C, N); 1 of channels of zeros, which are like no other."""
    lengths = vector_norm(channels, dim=2)
    result: Tensor = lengths.masked_fill(lengths == 0, 1.0)
    return result


class NST(FeatureDistiller):
    """Cross entropy and ``nst_loss`` of all stages."""

    reads = ("feats",)

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        return nst_loss(*matched(stages(student), stages(teacher)))
