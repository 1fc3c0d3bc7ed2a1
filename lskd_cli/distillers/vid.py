"""VID: variational information distillation (Ahn et al., CVPR 2019, arXiv:1904.05835).

    loss = ce_weight * CE(s, y)
         + feature_weight * sum over stages of mean((m(f_s) - f_t)^2 / (2 v) + log(v) / 2)

A normal distribution predicts the teacher's features from the student's: a small network computes
its mean m, and its variance v = softplus(a) + eps is learned per channel.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, model_validator
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs, at_least_float32
from lskd_cli.distillers.features import (
    FeatureDistiller,
    FeatureSpec,
    match_spatial_size,
    match_stages,
    stages,
)
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output


class GaussianHead(nn.Module):
    """GaussianHead of a stage: three 1x1 convolutions for the mean, a variance per channel."""

    def __init__(self, in_channels: int, channels: int, variance: float, eps: float) -> None:
        """Create the layers; all variances have the same initial value."""
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

    def forward(self, student: Tensor, teacher: Tensor, inputs: StepInputs) -> Tensor:
        """Negative log-likelihood without its constant, mean over all values."""
        student, teacher = match_spatial_size(student, teacher)
        with inputs.precision():
            mean = self.mean(student)
        variance = (F.softplus(self.scale) + self.eps)[:, None, None]
        return ((at_least_float32(mean) - teacher).square() / variance + variance.log()).mean() / 2


class VIDConfig(FeatureMethodConfig):
    """Hyper-parameters of variational information distillation."""

    name: Literal["vid"]
    initial_variance: PositiveFloat = 5.0
    eps: PositiveFloat = 1e-5  # smallest variance

    @model_validator(mode="after")
    def _check_variance(self) -> "VIDConfig":
        if self.initial_variance <= self.eps:
            raise ValueError(f"initial_variance: must be greater than eps ({self.eps})")
        return self


@register(VIDConfig)
class VID(FeatureDistiller):
    """Cross entropy and the negative log-likelihood of the features of all stages."""

    required_features = ("feats",)

    def __init__(self, config: VIDConfig, standardized: bool, spec: FeatureSpec) -> None:
        super().__init__(config, standardized, spec)
        self.predictions = nn.ModuleList(
            GaussianHead(student[0], teacher[0], config.initial_variance, config.eps)
            for student, teacher in zip(
                *match_stages(stages(spec.student), stages(spec.teacher)), strict=True
            )
        )

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        pairs = zip(*match_stages(stages(student), stages(teacher)), strict=True)
        losses = [
            prediction(*pair, inputs)
            for prediction, pair in zip(self.predictions, pairs, strict=True)
        ]
        return torch.stack(losses).sum()
