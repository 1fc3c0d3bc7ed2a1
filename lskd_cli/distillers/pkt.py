"""PKT: probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837).

    loss = ce_weight * CE(s, y) + feature_weight * mean of P_t * log(P_t / P_s)

P is the (B, B) matrix of cosines between the images' features, brought from -1..1 to 0..1, its rows
of sum 1: how likely an image is the neighbour of another.
"""

import torch
from torch import Tensor

from lskd_cli.distillers.base import Step, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, pooled
from lskd_cli.models import Output

_EPS = 1e-7  # as released: added to probabilities and lengths


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of the neighbourhoods, mean over all pairs of the batch.

    Args:
        student: (B, F) features.
        teacher: (B, F') features.

    Returns:
        Scalar, at least float32. Features of zeros are as near to all others.
    """
    ours, theirs = _neighbours(student), _neighbours(teacher)
    return (theirs * torch.log((theirs + _EPS) / (ours + _EPS))).mean()


def _neighbours(features: Tensor) -> Tensor:
    """(B, B) probabilities, rows of sum 1."""
    features = at_least_float32(features)
    length = features.norm(dim=1, keepdim=True)
    # Features of zeros pass no gradient on: it would be multiplied by 1 / eps.
    directions = features.masked_fill(length == 0, 0.0) / (length + _EPS)
    cosines = (directions @ directions.T + 1) / 2
    result: Tensor = cosines / cosines.sum(dim=1, keepdim=True)
    return result


class PKT(FeatureDistiller):
    """Cross entropy and ``pkt_loss`` of the pooled features."""

    reads = ("pooled",)

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        return pkt_loss(pooled(student), pooled(teacher))
