"""No distillation: cross entropy with the labels. Also how teachers are trained."""

import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import VanillaMethod
from lskd_cli.distillers.base import Distiller, Step, at_least_float32


class Vanilla(Distiller):
    """CE(student, target)."""

    needs_teacher = False

    def __init__(self, method: VanillaMethod, standardized: bool) -> None:
        super().__init__()
        self.ce_weight = method.ce_weight

    def losses(self, step: Step) -> dict[str, Tensor]:
        logits = at_least_float32(step.student["weak"].logits)
        return {"ce": self.ce_weight * F.cross_entropy(logits, step.target)}
