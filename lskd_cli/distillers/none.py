"""No distillation: cross entropy with the labels, for student baselines and teachers."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import Distiller, StepInputs
from lskd_cli.distillers.registry import register


class BaselineConfig(MethodConfig):
    """Hyper-parameters of training without distillation."""

    needs_teacher: ClassVar[bool] = False
    name: Literal["none"]
    ce_weight: PositiveFloat = 1.0


@register(BaselineConfig)
class Baseline(Distiller):
    """CE(student, target)."""

    config: BaselineConfig

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        ce = inputs.cross_entropy(inputs.student["weak"].logits)
        return {"ce": self.config.ce_weight * ce}
