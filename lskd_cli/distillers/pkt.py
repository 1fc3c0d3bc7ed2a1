"""PKT: probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837).

    loss = ce_weight * CE(s, y) + feature_weight * mean of P_t * log(P_t / P_s)

P is the (B, B) matrix of cosine similarities between the features of the images, mapped from -1..1
to 0..1 and normalized to row sums of 1: the probability that two images are neighbors.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, pooled_features
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output

_EPS = 1e-7  # added to probabilities and norms, as in the released code


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of the neighbor probabilities, mean over all pairs of the batch.

    Args:
        student: (B, F) features.
        teacher: (B, F') features.

    Returns:
        Scalar, at least float32. Features of zeros have the same similarity to all others.
    """
    p_s, p_t = _neighbor_probs(student), _neighbor_probs(teacher)
    return (p_t * torch.log((p_t + _EPS) / (p_s + _EPS))).mean()


def _neighbor_probs(features: Tensor) -> Tensor:
    """(B, B) probabilities with row sums of 1."""
    features = at_least_float32(features)
    length = features.norm(dim=1, keepdim=True)
    # Zero features get no gradient, which would be multiplied by 1 / eps.
    directions = features.masked_fill(length == 0, 0.0) / (length + _EPS)
    cosines = (directions @ directions.T + 1) / 2
    result: Tensor = cosines / cosines.sum(dim=1, keepdim=True)
    return result


class PKTConfig(FeatureMethodConfig):
    """Hyper-parameters of probabilistic knowledge transfer."""

    uses_batch_relations: ClassVar[bool] = True
    name: Literal["pkt"]


@register(PKTConfig)
class PKT(FeatureDistiller):
    """Cross entropy and ``pkt_loss`` of the pooled features."""

    required_features = ("pooled",)

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        return pkt_loss(pooled_features(student), pooled_features(teacher))
