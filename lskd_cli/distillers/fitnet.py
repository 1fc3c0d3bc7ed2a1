"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015, arXiv:1412.6550).

    loss = ce_weight * CE(s, y) + feature_weight * mean((regressor(f_s) - f_t)^2)

f are the features of one stage. The hint is learnt together with the classes, as in the benchmark
of Tian et al. (arXiv:1910.10699), not in a stage of training before them.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.config import FitNetMethod
from lskd_cli.distillers.base import Step, at_least_float32
from lskd_cli.distillers.features import BatchNorm, FeatureDistiller, Pair, Shape, matched, stages
from lskd_cli.errors import RequestError
from lskd_cli.models import Output


class FitNet(FeatureDistiller):
    """Cross entropy and the mean squared difference from one stage of the teacher."""

    reads = ("feats",)
    method: FitNetMethod

    def __init__(self, method: FitNetMethod, standardized: bool, pair: Pair) -> None:
        """Make the regressor.

        Raises:
            RequestError: there is no such stage.
        """
        super().__init__(method, standardized, pair)
        ours, theirs = matched(stages(pair.student), stages(pair.teacher))
        if method.hint_stage > len(ours):
            raise RequestError(
                f"method.hint_stage: there is no {method.hint_stage}; stages are 1 to {len(ours)}"
            )
        self.place = method.hint_stage - 1
        self.regressor = _regressor(ours[self.place], theirs[self.place])

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        ours, theirs = matched(stages(student), stages(teacher))
        with step.precision():
            hint = self.regressor(ours[self.place])
        return F.mse_loss(at_least_float32(hint), at_least_float32(theirs[self.place]))


def _regressor(student: Shape, teacher: Shape) -> nn.Sequential:
    """A convolution to the teacher's channels and size, batch norm, ReLU."""
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
