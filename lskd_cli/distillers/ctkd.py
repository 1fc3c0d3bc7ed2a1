"""CTKD: curriculum temperature (Li et al., AAAI 2023, arXiv:2211.16231), the global variant.

KD with one learned scalar theta:

    T = t_start + t_range * sigmoid(theta)

The student lowers the loss while theta, whose gradient is multiplied by lambda(epoch), raises it:
lambda runs from 0 to -1 along half a cosine over the first epochs, then stays.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.config import CTKDMethod
from lskd_cli.distillers.base import Distiller, Step, at_least_float32
from lskd_cli.distillers.kd import kd_loss


def curriculum(epoch: Tensor, ramp_epochs: int) -> Tensor:
    """Factor of theta's gradient in an epoch (from 1): (cos(min(i, n) / n * pi) + 1) / 2 - 1."""
    return (torch.cos((epoch / ramp_epochs).clamp(max=1.0) * math.pi) + 1) / 2 - 1


class CTKD(Distiller):
    """KD on the weak view at a temperature that training itself makes harder.

    ``temperature`` of the method is t_start (the base temperature with standardization),
    ``temperature_range`` is t_range.
    """

    def __init__(self, method: CTKDMethod, standardized: bool) -> None:
        super().__init__()
        self.method = method
        self.standardized = standardized
        self.theta = nn.Parameter(torch.ones(()))  # 1, as in the released code

    def temperature(self, factor: float | Tensor = 1.0) -> Tensor:
        """T, a scalar; ``factor`` multiplies the gradient that reaches theta."""
        constant = self.theta.detach()
        theta = constant + factor * (self.theta - constant)  # theta itself, but for its gradient
        return self.method.temperature + self.method.temperature_range * theta.sigmoid()

    def losses(self, step: Step) -> dict[str, Tensor]:
        student, teacher = step.student["weak"].logits, step.teacher["weak"].logits
        ce = F.cross_entropy(at_least_float32(student), step.target)
        temperature = self.temperature(curriculum(step.epoch, self.method.ramp_epochs))
        kd = kd_loss(student, teacher, temperature, self.standardized)
        return {"ce": self.method.ce_weight * ce, "kd": self.method.kd_weight * kd}

    def logged(self) -> dict[str, Tensor]:
        return {"temperature": self.temperature().detach()}
