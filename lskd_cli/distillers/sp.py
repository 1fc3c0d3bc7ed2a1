"""SP: similarity-preserving distillation (Tung and Mori, ICCV 2019, arXiv:1907.09682).

    loss = ce_weight * CE(s, y) + feature_weight * |G_s - G_t|_F^2 / B^2

G is the (B, B) matrix of inner products between the last features of the images, with rows of
length 1.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, l2_normalize
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output


def sp_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared differences of the similarities within a batch, summed over stages.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C', H', W') maps, of any sizes.

    Returns:
        Scalar, at least float32.
    """
    losses = [
        (_similarities(student_map) - _similarities(teacher_map)).square().mean()
        for student_map, teacher_map in zip(student, teacher, strict=True)
    ]
    return torch.stack(losses).sum()


def _similarities(feature: Tensor) -> Tensor:
    """(B, B) inner products of (B, C, H, W) features, with rows of length 1."""
    flat = at_least_float32(feature).flatten(1)
    return l2_normalize(flat @ flat.T, dim=1)


class SPConfig(FeatureMethodConfig):
    """Hyper-parameters of similarity-preserving distillation."""

    uses_batch_relations: ClassVar[bool] = True
    name: Literal["sp"]


@register(SPConfig)
class SP(FeatureDistiller):
    """Cross entropy and ``sp_loss`` of the last stage."""

    required_features = ("feats",)

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        return sp_loss(student.feats[-1:], teacher.feats[-1:])
