"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015, arXiv:1412.6550).

    loss = ce_weight * CE(s, y) + feature_weight * mean((regressor(f_s) - f_t)^2)

f are the features of one stage. The hint is trained together with the cross entropy, as in the
benchmark of Tian et al. (arXiv:1910.10699), not in a separate stage before it.
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs, at_least_float32
from lskd_cli.distillers.features import (
    BatchNorm,
    FeatureDistiller,
    FeatureSpec,
    Shape,
    match_stages,
    stages,
)
from lskd_cli.distillers.registry import register
from lskd_cli.errors import RequestError
from lskd_cli.models import Output


class FitNetConfig(FeatureMethodConfig):
    """Hyper-parameters of FitNets."""

    name: Literal["fitnet"]
    hint_stage: PositiveInt = 2  # counted from 1, after the stem


@register(FitNetConfig)
class FitNet(FeatureDistiller):
    """Cross entropy and the mean squared difference from one stage of the teacher."""

    required_features = ("feats",)
    config: FitNetConfig

    def __init__(self, config: FitNetConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Create the regressor.

        Raises:
            RequestError: there is no such stage.
        """
        super().__init__(config, standardized, spec)
        student, teacher = match_stages(stages(spec.student), stages(spec.teacher))
        if config.hint_stage > len(student):
            raise RequestError(
                f"method.hint_stage: must be between 1 and {len(student)}, not {config.hint_stage}"
            )
        self.stage = config.hint_stage - 1
        self.regressor = _regressor(student[self.stage], teacher[self.stage])

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        student_stages, teacher_stages = match_stages(stages(student), stages(teacher))
        with inputs.precision():
            hint = self.regressor(student_stages[self.stage])
        return F.mse_loss(at_least_float32(hint), at_least_float32(teacher_stages[self.stage]))


def _regressor(student: Shape, teacher: Shape) -> nn.Sequential:
    """A convolution to the teacher's channels and spatial size, batch norm and ReLU."""
    channels, size, goal = (student[0], teacher[0]), student[1], teacher[1]
    convolution: nn.Module
    if size % goal == 0:
        stride = size // goal
        convolution = nn.Conv2d(*channels, 2 * stride - 1, stride, padding=stride - 1)
    elif goal % size == 0:
        stride = goal // size
        kernel = 2 * stride - stride % 2
        convolution = nn.ConvTranspose2d(*channels, kernel, stride, padding=stride // 2)
    elif size > goal:
        convolution = nn.Conv2d(*channels, 1 + size - goal)
    else:
        enlarge = nn.Upsample(size=goal, mode="bilinear")
        convolution = nn.Sequential(enlarge, nn.Conv2d(*channels, 1))
    return nn.Sequential(convolution, BatchNorm(teacher[0]), nn.ReLU())
