"""OFD: a comprehensive overhaul of feature distillation (Heo et al., ICCV 2019, arXiv:1904.01866).

    loss = ce_weight * CE(s, y)
         + feature_weight * sum over stages of d(connector(f_s), f_t) / 2^(stages after it)

f are features before their last ReLU. What the teacher's ReLU lets pass is imitated; what it stops
is imitated down to a margin, the mean of a channel's negative values, and below that the student
may have any value that is not above it.
"""

import math

import torch
from torch import Tensor, nn

from lskd_cli.config import OFDMethod
from lskd_cli.distillers.base import Step
from lskd_cli.distillers.features import (
    BatchNorm,
    FeatureDistiller,
    Pair,
    matched,
    of_one_size,
    unactivated,
)
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_RARE = 1e-3  # share of negative values below which their mean is not computed
_FAR = 3.0  # deviations: the margin then, as released


def ofd_loss(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """The paper's partial squared distance, sum over channels and positions, mean over the batch.

    Args:
        student: (B, C, H, W), after its connector.
        teacher: (B, C, H', W'); the larger of both is averaged to the size of the smaller.
        margin: (1, C, 1, 1), negative.

    Returns:
        Scalar, at least float32.
    """
    student, teacher = of_one_size(student, teacher)
    goal = torch.maximum(teacher, margin.to(teacher.dtype))
    is_free = (student <= goal) & (teacher <= 0)
    return (student - goal).square().masked_fill(is_free, 0.0).sum() / len(student)


def margins(norm: nn.BatchNorm2d) -> Tensor:
    """(1, C, 1, 1): E[x | x < 0] of each channel, x normal as the batch norm leaves it.

    Equation 4 of the paper; 3 deviations below 0 where x is hardly ever negative.
    """
    deviation, mean = norm.weight.detach().abs(), norm.bias.detach()
    ratio = mean / deviation.clamp(min=torch.finfo(deviation.dtype).tiny)
    share = torch.special.ndtr(-ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    expected = mean - deviation * density / share.clamp(min=_RARE)
    return torch.where(share > _RARE, expected, -_FAR * deviation)[None, :, None, None]


class OFD(FeatureDistiller):
    """Cross entropy and ``ofd_loss`` of all stages, through a 1x1 convolution and batch norm."""

    reads = ("feats", "preacts")

    def __init__(self, method: OFDMethod, standardized: bool, pair: Pair) -> None:
        """Make the connectors and take the margins from the teacher.

        Raises:
            RequestError: the teacher has no batch norm before the last activations of its stages.
        """
        super().__init__(method, standardized, pair)
        norms = pair.network.last_norms()
        if not norms:
            raise RequestError(
                "method ofd takes its margins from the batch norms that end the stages of the "
                "teacher; this one has none"
            )
        ours, theirs = matched(unactivated(pair.student), unactivated(pair.teacher))
        self.connectors = nn.ModuleList(
            _connector(own[0], other[0]) for own, other in zip(ours, theirs, strict=True)
        )
        _, chosen = matched(ours, norms)
        for number, norm in enumerate(chosen):
            self.register_buffer(f"margin{number}", margins(norm), persistent=False)

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        ours, theirs = matched(unactivated(student), unactivated(teacher))
        with step.precision():
            connected = [connect(own) for connect, own in zip(self.connectors, ours, strict=True)]
        losses = [
            ofd_loss(*both, self.get_buffer(f"margin{number}"))
            for number, both in enumerate(zip(connected, theirs, strict=True))
        ]
        shares = [2.0 ** -(len(losses) - 1 - number) for number in range(len(losses))]
        return torch.stack([a * b for a, b in zip(shares, losses, strict=True)]).sum()


def _connector(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / out_channels))
    return nn.Sequential(convolution, BatchNorm(out_channels))
