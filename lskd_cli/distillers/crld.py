"""CRLD: cross-view consistency of confident predictions (Zhang et al., arXiv:2412.16493).

    loss = ce_weight * (CE(weak) + CE(strong)) + kd_weight * (within + cross)

within compares student and teacher on the same view of an image, cross on different views. Only
images count of whose (weak, strong) view the teacher is confident.
"""

from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig, View
from lskd_cli.distillers.base import Distiller, StepInputs, at_least_float32
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.registry import register

_Probability = Annotated[float, Field(ge=0, le=1)]


def crld_losses(
    student_weak: Tensor,
    student_strong: Tensor,
    teacher_weak: Tensor,
    teacher_strong: Tensor,
    temperature: float,
    tau_weak: float,
    tau_strong: float,
    within_weight: float,
    cross_weight: float,
    standardized: bool = False,
) -> dict[str, Tensor]:
    """The two terms, weights included; KD(s, t) is that of one image, with the factor T^2.

    With c and c' the teacher's largest probabilities for the weak and the strong view::

        within = within_weight * mean of [c >= tau_weak] * (KD(s, t) + KD(s', t'))
        cross = cross_weight * mean of [c' >= tau_strong] * (KD(s', t) + KD(s, t'))

    Args:
        student_weak: (B, C) logits s.
        student_strong: (B, C) logits s'.
        teacher_weak: (B, C) logits t.
        teacher_strong: (B, C) logits t'.
        temperature: above 0.
        tau_weak: smallest confidence in the weak view.
        tau_strong: smallest confidence in the strong view.
        within_weight: weight of divergences within a view.
        cross_weight: weight of divergences across views.
        standardized: standardize the logits of the divergences; confidences are always those of
            plain logits.

    Returns:
        ``{"within", "cross"}``, scalars of at least float32; the means are over all images.
    """

    def divergence(student: Tensor, teacher: Tensor) -> Tensor:
        return kd_loss(student, teacher, temperature, standardized, reduction="none")

    within = divergence(student_weak, teacher_weak) + divergence(student_strong, teacher_strong)
    cross = divergence(student_strong, teacher_weak) + divergence(student_weak, teacher_strong)
    return {
        "within": within_weight * (_is_confident(teacher_weak, tau_weak) * within).mean(),
        "cross": cross_weight * (_is_confident(teacher_strong, tau_strong) * cross).mean(),
    }


def _is_confident(logits: Tensor, threshold: float) -> Tensor:
    return F.softmax(at_least_float32(logits), dim=1).amax(dim=1) >= threshold


class CRLDConfig(MethodConfig):
    """Hyper-parameters of CRLD; kd_weight multiplies both terms of the teacher."""

    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    name: Literal["crld"]
    temperature: PositiveFloat
    tau_weak: _Probability
    tau_strong: _Probability
    within_weight: NonNegativeFloat
    cross_weight: NonNegativeFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 1.0


@register(CRLDConfig)
class CRLD(Distiller):
    """Cross entropy of both views, and ``crld_losses``."""

    config: CRLDConfig

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        config = self.config
        weak, strong = inputs.student["weak"].logits, inputs.student["strong"].logits
        terms = crld_losses(
            weak,
            strong,
            inputs.teacher["weak"].logits,
            inputs.teacher["strong"].logits,
            config.temperature,
            config.tau_weak,
            config.tau_strong,
            config.within_weight,
            config.cross_weight,
            self.standardized,
        )
        ce = inputs.cross_entropy(weak) + inputs.cross_entropy(strong)
        losses = {"ce": config.ce_weight * ce}
        return losses | {name: config.kd_weight * term for name, term in terms.items()}
