"""AT: attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928).

    loss = ce_weight * CE(s, y) + feature_weight * sum over stages of mean((Q_s - Q_t)^2)

Q is the attention map of a stage: the mean over channels of |f|^p, as a vector of length 1.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs
from lskd_cli.distillers.features import (
    FeatureDistiller,
    l2_normalize,
    match_spatial_size,
    match_stages,
    stages,
)
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output


def at_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], p: float = 2) -> Tensor:
    """Squared differences of attention maps, mean over positions and batch, sum over stages.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C', H', W') maps; in each stage, the larger map is average-pooled to the
            size of the smaller one.
        p: exponent of the activations.

    Returns:
        Scalar, at least float32. The attention map of zeros is zero.
    """
    losses = [_stage_loss(*pair, p) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).sum()


def _stage_loss(student: Tensor, teacher: Tensor, p: float) -> Tensor:
    student, teacher = match_spatial_size(student, teacher)
    return F.mse_loss(_attention_map(student, p), _attention_map(teacher, p))


def _attention_map(feature: Tensor, p: float) -> Tensor:
    """(B, H * W) vectors of length 1; the sum over channels has the same direction as the mean."""
    powers = feature.square() if p == 2 else feature.abs().pow(p)
    return l2_normalize(powers.sum(dim=1).flatten(1), dim=1)


class ATConfig(FeatureMethodConfig):
    """Hyper-parameters of attention transfer."""

    name: Literal["at"]
    p: PositiveFloat = 2.0  # exponent of the activations in the attention map


@register(ATConfig)
class AT(FeatureDistiller):
    """Cross entropy and ``at_loss`` of all stages."""

    required_features = ("feats",)
    config: ATConfig

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        return at_loss(*match_stages(stages(student), stages(teacher)), self.config.p)
