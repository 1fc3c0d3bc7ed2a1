"""CTKD: curriculum temperature (Li et al., AAAI 2023, arXiv:2211.16231), the global variant.

KD with one learned scalar theta:

    T = t_start + t_range * sigmoid(theta)

The student minimizes the loss while theta maximizes it: its gradient is multiplied by
lambda(epoch), which goes from 0 to -1 along half a cosine over the first epochs and then stays -1.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import Distiller, StepInputs
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.registry import register


def curriculum(epoch: Tensor, ramp_epochs: int) -> Tensor:
    """Factor of theta's gradient in epoch i (from 1): (cos(min(i, n) / n * pi) + 1) / 2 - 1."""
    return (torch.cos((epoch / ramp_epochs).clamp(max=1.0) * math.pi) + 1) / 2 - 1


class CTKDConfig(MethodConfig):
    """Hyper-parameters of CTKD: T lies between temperature and temperature + temperature_range."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("ramp_epochs",)
    name: Literal["ctkd"]
    temperature: PositiveFloat
    temperature_range: NonNegativeFloat
    ramp_epochs: PositiveInt  # epochs until the gradient of theta is fully reversed
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(CTKDConfig)
class CTKD(Distiller):
    """KD on the weak view at a learned temperature.

    In the config, ``temperature`` is t_start (the base temperature with standardization), and
    ``temperature_range`` is t_range.
    """

    config: CTKDConfig

    def __init__(self, config: CTKDConfig, standardized: bool) -> None:
        super().__init__(config, standardized)
        self.theta = nn.Parameter(torch.ones(()))  # 1, as in the released code

    def temperature(self, factor: float | Tensor = 1.0) -> Tensor:
        """T, a scalar; ``factor`` multiplies the gradient of theta."""
        constant = self.theta.detach()
        theta = constant + factor * (self.theta - constant)  # the value of theta, another gradient
        temperature: Tensor = (
            self.config.temperature + self.config.temperature_range * theta.sigmoid()
        )
        return temperature

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        student, teacher = inputs.student["weak"].logits, inputs.teacher["weak"].logits
        ce = inputs.cross_entropy(student)
        temperature = self.temperature(curriculum(inputs.epoch, self.config.ramp_epochs))
        kd = kd_loss(student, teacher, temperature, self.standardized)
        return {"ce": self.config.ce_weight * ce, "kd": self.config.kd_weight * kd}

    def metrics(self) -> dict[str, Tensor]:
        return {"temperature": self.temperature().detach()}
