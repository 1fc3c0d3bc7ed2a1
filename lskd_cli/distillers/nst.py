"""NST: neuron selectivity transfer (Huang and Wang, arXiv:1707.01219).

    loss = ce_weight * CE(s, y) + feature_weight * sum over stages of MMD^2

MMD^2 = mean k(t, t') + mean k(s, s') - 2 mean k(s, t) is the squared maximum mean discrepancy
between the channels of both networks. Each channel is a vector of length 1, and k(x, y) = (x . y)^2
is the polynomial kernel of degree 2.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs
from lskd_cli.distillers.features import FeatureDistiller, match_spatial_size, match_stages, stages
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output


def nst_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Squared discrepancies, mean over the batch, sum over stages.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C', H', W') maps; in each stage, the larger map is average-pooled to the
            size of the smaller one.

    Returns:
        Scalar, at least float32.
    """
    losses = [_stage_loss(*pair) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).sum()


def _stage_loss(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = (feature.flatten(2) for feature in match_spatial_size(student, teacher))
    return _kernel(teacher, teacher) + _kernel(student, student) - 2 * _kernel(student, teacher)


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean of k over all pairs of channels of (B, C, N) and (B, C', N), and over the batch."""
    # The products are normalized instead of the maps, which have more values.
    lengths = _lengths(first)[:, :, None] * _lengths(second)[:, None]
    return (first @ second.transpose(1, 2) / lengths).square().mean()


def _lengths(channels: Tensor) -> Tensor:
    """(B, C) lengths of the channels of (B, C, N); 1 for channels of zeros."""
    lengths = vector_norm(channels, dim=2)
    result: Tensor = lengths.masked_fill(lengths == 0, 1.0)
    return result


class NSTConfig(FeatureMethodConfig):
    """Hyper-parameters of neuron selectivity transfer."""

    name: Literal["nst"]


@register(NSTConfig)
class NST(FeatureDistiller):
    """Cross entropy and ``nst_loss`` of all stages."""

    required_features = ("feats",)

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        return nst_loss(*match_stages(stages(student), stages(teacher)))
