"""VID: variational information distillation (Ahn et al., CVPR 2019, arXiv:1904.05835).

    loss = ce_weight * CE(s, y)
         + feature_weight * sum over stages of mean((m(f_s) - f_t)^2 / (2 v) + log(v) / 2)

The student's features predict the teacher's as a normal distribution: its mean m by a small
network, its variance v = softplus(a) + eps learned for each channel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.config import VIDMethod
from lskd_cli.distillers.base import Step, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, Pair, matched, of_one_size, stages
from lskd_cli.models import Output


class Prediction(nn.Module):
    """Of a stage: three 1x1 convolutions for the mean, a variance for each channel."""

    def __init__(self, in_channels: int, channels: int, variance: float, eps: float) -> None:
        """Make a prediction of so many channels whose variances are all the same at first."""
        super().__init__()
        self.eps = eps
        self.mean = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        above = variance - eps
        start = above + math.log(-math.expm1(-above))  # the inverse of softplus
        self.scale = nn.Parameter(torch.full((channels,), start))

    def forward(self, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        """Negative logarithm of the likelihood, without its constant, mean over everything."""
        student, teacher = of_one_size(student, teacher)
        with step.precision():
            mean = self.mean(student)
        variance = (F.softplus(self.scale) + self.eps)[:, None, None]
        return ((at_least_float32(mean) - teacher).square() / variance + variance.log()).mean() / 2


class VID(FeatureDistiller):
    """Cross entropy and the unlikelihood of the features of all stages."""

    reads = ("feats",)

    def __init__(self, method: VIDMethod, standardized: bool, pair: Pair) -> None:
        super().__init__(method, standardized, pair)
        self.predictions = nn.ModuleList(
            Prediction(ours[0], theirs[0], method.initial_variance, method.eps)
            for ours, theirs in zip(
                *matched(stages(pair.student), stages(pair.teacher)), strict=True
            )
        )

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        pairs = zip(*matched(stages(student), stages(teacher)), strict=True)
        losses = [
            predict(*both, step) for predict, both in zip(self.predictions, pairs, strict=True)
        ]
        return torch.stack(losses).sum()
