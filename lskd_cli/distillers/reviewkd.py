"""ReviewKD: distilling knowledge via knowledge review (Chen et al., CVPR 2021, arXiv:2104.09044).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * feature_weight * sum over levels of HCL(fused f_s, f_t)

The levels are the stages (the teacher's before their last activation) and the pooled features. From
the last level to the first, attention-based fusion (ABF) combines each student level with the fused
deeper levels, and the hierarchical context loss (HCL) compares the result with the teacher's level
at several sizes.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs, at_least_float32
from lskd_cli.distillers.features import (
    BatchNorm,
    FeatureDistiller,
    FeatureSpec,
    match_stages,
    pooled_features,
    preactivations,
    stages,
)
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output

_CONTEXT_SIZES = (4, 2, 1)  # in pixels; each has half the weight of the size before
_MAX_CHANNELS = 512  # of the fused features


def hcl_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Weighted mean squared differences at several sizes, summed over levels.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C, H, W) maps of the same shapes.

    Returns:
        Scalar, at least float32.
    """
    losses = [_level_loss(*pair) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).sum()


def _level_loss(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    sizes = [size for size in _CONTEXT_SIZES if size < student.shape[2]]
    weights = [0.5**number for number in range(len(sizes) + 1)]
    maps = [(student, teacher)] + [
        (F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size))
        for size in sizes
    ]
    losses = [weight * F.mse_loss(*pair) for weight, pair in zip(weights, maps, strict=True)]
    return torch.stack(losses).sum() / sum(weights)


class ABF(nn.Module):
    """Attention-based fusion of one level with the deeper levels, to the shape of the teacher."""

    def __init__(self, in_channels: int, channels: int, out_channels: int, is_last: bool) -> None:
        """Create the convolutions.

        Args:
            in_channels: channels of the student's level.
            channels: channels of the fused features.
            out_channels: channels of the teacher's level.
            is_last: whether there is no deeper level.
        """
        super().__init__()
        self.reduce = _with_batch_norm(nn.Conv2d(in_channels, channels, 1, bias=False))
        self.expand = _with_batch_norm(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
        self.attend = None
        if not is_last:
            self.attend = nn.Sequential(nn.Conv2d(2 * channels, 2, 1), nn.Sigmoid())

    def forward(self, level: Tensor, deeper: Tensor | None, side: int) -> tuple[Tensor, Tensor]:
        """Features to compare with the teacher's level, of ``side`` pixels, and fused features."""
        fused = self.reduce(level)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            attention = self.attend(torch.cat([fused, deeper], dim=1))
            fused = fused * attention[:, :1] + deeper * attention[:, 1:]
        if fused.shape[2] != side:
            fused = F.interpolate(fused, (side, side), mode="nearest")
        return self.expand(fused), fused


class ReviewKDConfig(FeatureMethodConfig):
    """Hyper-parameters of ReviewKD."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("warmup",)
    name: Literal["reviewkd"]
    warmup: PositiveInt = 20  # epochs of linear warm-up of the feature loss


@register(ReviewKDConfig)
class ReviewKD(FeatureDistiller):
    """Cross entropy and ``hcl_loss`` of all levels, the latter with a linear warm-up."""

    required_features = ("feats", "preacts", "pooled")

    def __init__(self, config: ReviewKDConfig, standardized: bool, spec: FeatureSpec) -> None:
        super().__init__(config, standardized, spec)
        student_levels, teacher_levels = match_stages(
            [*stages(spec.student), (spec.student.pooled,)],
            [*preactivations(spec.teacher), (spec.teacher.pooled,)],
        )
        channels = min(_MAX_CHANNELS, student_levels[-1][0])
        last = len(student_levels) - 1
        self.fusions = nn.ModuleList(
            ABF(student[0], channels, teacher[0], is_last=index == last)
            for index, (student, teacher) in enumerate(
                zip(student_levels, teacher_levels, strict=True)
            )
        )

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        student_levels, teacher_levels = match_stages(
            [*stages(student), pooled_features(student)[:, :, None, None]],
            [*preactivations(teacher), pooled_features(teacher)[:, :, None, None]],
        )
        outputs: list[Tensor] = []
        deeper = None
        levels = list(zip(self.fusions, student_levels, teacher_levels, strict=True))
        with inputs.precision():
            for fusion, student_level, teacher_level in reversed(levels):
                output, deeper = fusion(student_level, deeper, teacher_level.shape[2])
                outputs.insert(0, output)
        return hcl_loss(outputs, teacher_levels)


def _with_batch_norm(convolution: nn.Conv2d) -> nn.Sequential:
    nn.init.kaiming_uniform_(convolution.weight, a=1)  # as in the released code
    return nn.Sequential(convolution, BatchNorm(convolution.out_channels))
