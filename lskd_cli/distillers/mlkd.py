"""MLKD: multi-level logit distillation (Jin et al., CVPR 2023).

The method matches predictions of two views of each image at three levels, instances (KL), batches
(B x B relations) and classes (C x C relations), at the temperatures {T, 3, 5, 2, 6}.

The objective is the one that the published numbers were run with, which differs from the paper: the
confidence masks of samples and classes enter as scalars (the fraction of the batch that they keep),
and two of the five terms named "strong" use the weak view. Both are kept on purpose.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig, View
from lskd_cli.distillers.base import Distiller, StepInputs, at_least_float32
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.registry import register

# Temperatures besides T; the strong view is matched at T and the first two.
STRONG_TEMPERATURES = (3.0, 5.0)
WEAK_TEMPERATURES = (2.0, 6.0)


def mlkd_losses(
    student_weak: Tensor,
    student_strong: Tensor,
    teacher_weak: Tensor,
    teacher_strong: Tensor,
    target: Tensor,
    temperature: float,
    ce_weight: float,
    kd_weight: float,
    standardized: bool = False,
) -> dict[str, Tensor]:
    """The four terms of the objective, weights included.

    Let m be the fraction of samples whose teacher confidence is at most the median of the batch, mc
    the fraction of classes whose summed teacher probability is at most the median over classes
    (both on the weak view), and S = {T, 3, 5, 2, 6}::

        ce = ce_weight * (CE(weak) + CE(strong))
        kd = kd_weight * (m * sum_S KD(weak) + sum_{T,3,5} KD(strong) + sum_{2,6} KD(weak))
        cc = kd_weight * mc * sum_S CC(weak)
        bc = kd_weight * m * sum_S BC(weak)

    Args:
        student_weak: (B, C) logits of the student for the weak view.
        student_strong: (B, C) logits of the student for the strong view.
        teacher_weak: (B, C) logits of the teacher for the weak view.
        teacher_strong: (B, C) logits of the teacher for the strong view.
        target: (B,) class indices, or (B, C) probabilities.
        temperature: above 0.
        ce_weight: weight of the cross entropies.
        kd_weight: weight of all other terms.
        standardized: standardize the logits in the KL terms; the relation terms always use plain
            logits.

    Returns:
        ``{"ce", "kd", "cc", "bc"}``, scalars of at least float32.
    """
    student_weak, teacher_weak = at_least_float32(student_weak), at_least_float32(teacher_weak)
    strong_temperatures = (temperature, *STRONG_TEMPERATURES)
    temperatures = (*strong_temperatures, *WEAK_TEMPERATURES)

    probabilities = F.softmax(teacher_weak, dim=1)
    sample_fraction = fraction_up_to_median(probabilities.amax(dim=1))
    class_fraction = fraction_up_to_median(probabilities.sum(dim=0))

    ce = F.cross_entropy(student_weak, target) + F.cross_entropy(
        at_least_float32(student_strong), target
    )
    weak = {t: kd_loss(student_weak, teacher_weak, t, standardized) for t in set(temperatures)}
    kd = sample_fraction * _sum([weak[t] for t in temperatures])
    kd = kd + _sum(
        [kd_loss(student_strong, teacher_strong, t, standardized) for t in strong_temperatures]
    )
    kd = kd + _sum([weak[t] for t in WEAK_TEMPERATURES])
    cc = class_fraction * _sum(
        [class_relation_loss(student_weak, teacher_weak, t) for t in temperatures]
    )
    bc = sample_fraction * _sum(
        [batch_relation_loss(student_weak, teacher_weak, t) for t in temperatures]
    )
    return {"ce": ce_weight * ce, "kd": kd_weight * kd, "cc": kd_weight * cc, "bc": kd_weight * bc}


def class_relation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """||Ps' Ps - Pt' Pt||^2 / C over the (C, C) relations of classes; (B, C) logits."""
    student, teacher = F.softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    return (student.T @ student - teacher.T @ teacher).square().sum() / student.shape[1]


def batch_relation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """||Ps Ps' - Pt Pt'||^2 / B over the (B, B) relations of samples; (B, C) logits."""
    student, teacher = F.softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    return (student @ student.T - teacher @ teacher.T).square().sum() / student.shape[0]


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()


def fraction_up_to_median(values: Tensor) -> Tensor:
    """Fraction of the values that are at most their median (numpy's percentile 50)."""
    ordered, count = values.sort().values, len(values)
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return (values <= median).to(values.dtype).mean()


class MLKDConfig(MethodConfig):
    """Hyper-parameters of MLKD."""

    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    uses_batch_relations: ClassVar[bool] = True
    name: Literal["mlkd"]
    temperature: PositiveFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(MLKDConfig)
class MLKD(Distiller):
    """``mlkd_losses`` of the weak and the strong view."""

    config: MLKDConfig

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        return mlkd_losses(
            inputs.student["weak"].logits,
            inputs.student["strong"].logits,
            inputs.teacher["weak"].logits,
            inputs.teacher["strong"].logits,
            inputs.ce_target,
            self.config.temperature,
            self.config.ce_weight,
            self.config.kd_weight,
            self.standardized,
        )
