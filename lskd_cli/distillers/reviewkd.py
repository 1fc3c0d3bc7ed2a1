"""ReviewKD: distilling knowledge via knowledge review (Chen et al., CVPR 2021, arXiv:2104.09044).

    loss = ce_weight * CE(s, y)
         + min(epoch / warmup, 1) * feature_weight * sum over levels of HCL(fused f_s, f_t)

Levels are the stages, of the teacher before their last activation, and the pooled features. From
the last one back, each of the student's levels is fused with what was made of the deeper ones, by
attention, and compared with the teacher's level (hierarchical context loss: at several sizes).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.config import ReviewKDMethod
from lskd_cli.distillers.base import Step, at_least_float32
from lskd_cli.distillers.features import (
    BatchNorm,
    FeatureDistiller,
    Pair,
    matched,
    pooled,
    stages,
    unactivated,
)
from lskd_cli.models import Output

_SIZES = (4, 2, 1)  # of the contexts, in pixels; each counts half as much as the one before
_WIDEST = 512  # channels in which levels are fused


def context_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Weighted means of the squared differences at several sizes, sum over levels.

    Args:
        student: (B, C, H, W) maps.
        teacher: (B, C, H, W) maps of the same shapes.

    Returns:
        Scalar, at least float32.
    """
    losses = [_of_level(*pair) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).sum()


def _of_level(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    sizes = [size for size in _SIZES if size < student.shape[2]]
    weights = [0.5**number for number in range(len(sizes) + 1)]
    maps = [(student, teacher)] + [
        (F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size))
        for size in sizes
    ]
    losses = [weight * F.mse_loss(*both) for weight, both in zip(weights, maps, strict=True)]
    return torch.stack(losses).sum() / sum(weights)


class Fusion(nn.Module):
    """One level: its features, fused with those of the deeper levels, and brought to a shape."""

    def __init__(self, in_channels: int, channels: int, out_channels: int, is_last: bool) -> None:
        """Make it.

        Args:
            in_channels: of the student's level.
            channels: in which levels are fused.
            out_channels: of the teacher's level.
            is_last: nothing is deeper.
        """
        super().__init__()
        self.reduce = _normalized(nn.Conv2d(in_channels, channels, 1, bias=False))
        self.expand = _normalized(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
        self.attend = None
        if not is_last:
            self.attend = nn.Sequential(nn.Conv2d(2 * channels, 2, 1), nn.Sigmoid())

    def forward(self, level: Tensor, deeper: Tensor | None, side: int) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's level, ``side`` pixels wide, and what goes on."""
        fused = self.reduce(level)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            attention = self.attend(torch.cat([fused, deeper], dim=1))
            fused = fused * attention[:, :1] + deeper * attention[:, 1:]
        if fused.shape[2] != side:
            fused = F.interpolate(fused, (side, side), mode="nearest")
        return self.expand(fused), fused


class ReviewKD(FeatureDistiller):
    """Cross entropy and ``context_loss`` of all levels; the latter grows over the first epochs."""

    reads = ("feats", "preacts", "pooled")

    def __init__(self, method: ReviewKDMethod, standardized: bool, pair: Pair) -> None:
        super().__init__(method, standardized, pair)
        ours = [*stages(pair.student), (pair.student.pooled,)]
        theirs = [*unactivated(pair.teacher), (pair.teacher.pooled,)]
        ours, theirs = matched(ours, theirs)
        channels = min(_WIDEST, ours[-1][0])
        self.fusions = nn.ModuleList(
            Fusion(own[0], channels, other[0], is_last=number == len(ours) - 1)
            for number, (own, other) in enumerate(zip(ours, theirs, strict=True))
        )

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        ours, theirs = matched(
            [*stages(student), pooled(student)[:, :, None, None]],
            [*unactivated(teacher), pooled(teacher)[:, :, None, None]],
        )
        compared: list[Tensor] = []
        deeper = None
        with step.precision():
            for fuse, level, goal in reversed(list(zip(self.fusions, ours, theirs, strict=True))):
                made, deeper = fuse(level, deeper, goal.shape[2])
                compared.insert(0, made)
        return context_loss(compared, theirs)


def _normalized(convolution: nn.Conv2d) -> nn.Sequential:
    nn.init.kaiming_uniform_(convolution.weight, a=1)  # as released
    return nn.Sequential(convolution, BatchNorm(convolution.out_channels))
