"""AT: attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928).

    loss = ce_weight * CE(s, y) + feature_weight * sum over stages of mean((Q_s - Q_t)^2)

Q is the attention map of a stage, the mean over channels of |f|^p, as a vector of length 1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import ATMethod
from lskd_cli.distillers.base import Step
from lskd_cli.distillers.features import FeatureDistiller, matched, of_one_size, stages, unit
from lskd_cli.models import Output


def at_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], p: float = 2) -> Tensor:
    """Squared differences of attention maps, mean over positions and batch, sum over stages.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C', H', W') maps; the larger one of a stage is averaged to the smaller's size.
        p: power of the attention.

    Returns:
        Scalar, at least float32. A map of zeros has an attention of zeros.
    """
    losses = [_of_stage(*pair, p) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).sum()


def _of_stage(student: Tensor, teacher: Tensor, p: float) -> Tensor:
    ours, theirs = (_attention(feature, p) for feature in of_one_size(student, teacher))
    return F.mse_loss(ours, theirs)


def _attention(feature: Tensor, p: float) -> Tensor:
    """(B, H * W), length 1 each: a sum over channels serves as well as their mean."""
    powers = feature.square() if p == 2 else feature.abs().pow(p)
    return unit(powers.sum(dim=1).flatten(1), dim=1)


class AT(FeatureDistiller):
    """Cross entropy and ``at_loss`` of all stages."""

    reads = ("feats",)
    method: ATMethod

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        return at_loss(*matched(stages(student), stages(teacher)), self.method.p)
