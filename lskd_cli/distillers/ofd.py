"""OFD: a comprehensive overhaul of feature distillation (Heo et al., ICCV 2019, arXiv:1904.01866).

    loss = ce_weight * CE(s, y)
         + feature_weight * sum over stages of d(connector(f_s), f_t) / 2^(stages after it)

f are features before the last ReLU. Positive teacher values are matched; negative ones are matched
down to a margin, the mean of the negative values of the channel. Where the teacher is not positive,
student values below max(f_t, margin) cost nothing.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs
from lskd_cli.distillers.features import (
    BatchNorm,
    FeatureDistiller,
    FeatureSpec,
    match_spatial_size,
    match_stages,
    preactivations,
)
from lskd_cli.distillers.registry import register
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_MIN_NEGATIVE = 1e-3  # fraction of negative values below which their mean is not computed
_DEFAULT_MARGIN = 3.0  # in standard deviations, for such channels, as in the released code


def ofd_loss(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """The partial squared distance of the paper, summed over channels and positions, batch mean.

    Args:
        student: (B, C, H, W), after its connector.
        teacher: (B, C, H', W'); the larger map is average-pooled to the size of the smaller one.
        margin: (1, C, 1, 1), negative.

    Returns:
        Scalar, at least float32.
    """
    student, teacher = match_spatial_size(student, teacher)
    target = torch.maximum(teacher, margin.to(teacher.dtype))
    is_free = (student <= target) & (teacher <= 0)
    return (student - target).square().masked_fill(is_free, 0.0).sum() / len(student)


def margins(norm: nn.BatchNorm2d) -> Tensor:
    """(1, C, 1, 1): E[x | x < 0] per channel, for normal x with the batch norm's mean and std.

    Equation 4 of the paper; -3 standard deviations where x is almost never negative.
    """
    std, mean = norm.weight.detach().abs(), norm.bias.detach()
    ratio = mean / std.clamp(min=torch.finfo(std.dtype).tiny)
    fraction = torch.special.ndtr(-ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    expected = mean - std * density / fraction.clamp(min=_MIN_NEGATIVE)
    return torch.where(fraction > _MIN_NEGATIVE, expected, -_DEFAULT_MARGIN * std)[
        None, :, None, None
    ]


class OFDConfig(FeatureMethodConfig):
    """Hyper-parameters of OFD; feature_weight is the weight of the last stage."""

    name: Literal["ofd"]


@register(OFDConfig)
class OFD(FeatureDistiller):
    """Cross entropy and ``ofd_loss`` of all stages, through a 1x1 convolution and batch norm."""

    required_features = ("feats", "preacts")

    def __init__(self, config: OFDConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Create the connectors and compute the margins from the teacher.

        Raises:
            RequestError: the stages of the teacher do not end with a batch norm.
        """
        super().__init__(config, standardized, spec)
        norms = spec.teacher_network.final_batch_norms()
        if not norms:
            raise RequestError(
                "method ofd needs a teacher whose stages end with a batch norm, which determines "
                "the margins"
            )
        stages = match_stages(preactivations(spec.student), preactivations(spec.teacher))
        self.connectors = nn.ModuleList(
            _connector(student[0], teacher[0]) for student, teacher in zip(*stages, strict=True)
        )
        _, matched_norms = match_stages(stages[0], norms)
        for index, norm in enumerate(matched_norms):
            self.register_buffer(f"margin{index}", margins(norm), persistent=False)

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        student_stages, teacher_stages = match_stages(
            preactivations(student), preactivations(teacher)
        )
        with inputs.precision():
            connected = [
                connector(stage)
                for connector, stage in zip(self.connectors, student_stages, strict=True)
            ]
        losses = [
            ofd_loss(*stages, self.get_buffer(f"margin{index}"))
            for index, stages in enumerate(zip(connected, teacher_stages, strict=True))
        ]
        weights = [2.0 ** -(len(losses) - 1 - number) for number in range(len(losses))]
        return torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum()


def _connector(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / out_channels))
    return nn.Sequential(convolution, BatchNorm(out_channels))
