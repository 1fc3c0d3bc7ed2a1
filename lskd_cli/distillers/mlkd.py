"""MLKD: multi-level logit distillation (Jin et al., CVPR 2023).

Two views of each image; instance level (KL), batch level (B x B) and class level (C x C) relations
of the predictions, each at the temperatures {T, 3, 5, 2, 6}.

The objective is the one the published numbers were run with, which is not quite the paper's: the
confidence masks of samples and classes enter as scalars (the share of the batch that they keep),
and two of the five terms named "strong" read the weak view. Both are kept on purpose.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import MLKDMethod
from lskd_cli.distillers.base import Distiller, Step, at_least_float32
from lskd_cli.distillers.kd import kd_loss

# The temperatures beside the method's own; the strong view is matched at the first two of them.
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
    """The four parts of the objective, weights included.

    With m the share of samples whose teacher confidence is at most the batch's median, mc the
    share of classes whose summed teacher probability is at most the median over classes (both on
    the weak view), and S = {T, 3, 5, 2, 6}::

        ce = ce_weight * (CE(weak) + CE(strong))
        kd = kd_weight * (m * sum_S KD(weak) + sum_{T,3,5} KD(strong) + sum_{2,6} KD(weak))
        cc = kd_weight * mc * sum_S CC(weak)
        bc = kd_weight * m * sum_S BC(weak)

    Args:
        student_weak: (B, C) logits; likewise the next three.
        student_strong: of the strong view.
        teacher_weak: of the weak view.
        teacher_strong: of the strong view.
        target: (B,) class indices.
        temperature: above 0.
        ce_weight: weight of the cross entropies.
        kd_weight: weight of everything else.
        standardized: z-score the logits in the KL terms; the relation terms never are.

    Returns:
        ``{"ce", "kd", "cc", "bc"}``, scalars of at least float32.
    """
    student_weak, teacher_weak = at_least_float32(student_weak), at_least_float32(teacher_weak)
    strong_temperatures = (temperature, *STRONG_TEMPERATURES)
    temperatures = (*strong_temperatures, *WEAK_TEMPERATURES)

    probabilities = F.softmax(teacher_weak, dim=1)
    samples = _share_up_to_median(probabilities.amax(dim=1))
    classes = _share_up_to_median(probabilities.sum(dim=0))

    ce = F.cross_entropy(student_weak, target) + F.cross_entropy(
        at_least_float32(student_strong), target
    )
    weak = {t: kd_loss(student_weak, teacher_weak, t, standardized) for t in set(temperatures)}
    kd = samples * _total([weak[t] for t in temperatures])
    kd = kd + _total(
        [kd_loss(student_strong, teacher_strong, t, standardized) for t in strong_temperatures]
    )
    kd = kd + _total([weak[t] for t in WEAK_TEMPERATURES])
    cc = classes * _total(
        [class_relation_loss(student_weak, teacher_weak, t) for t in temperatures]
    )
    bc = samples * _total(
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


def _total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()


def _share_up_to_median(values: Tensor) -> Tensor:
    """Share of the values at most their median (the midpoint where their number is even)."""
    ordered, count = values.sort().values, len(values)
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return (values <= median).to(values.dtype).mean()


class MLKD(Distiller):
    """``mlkd_losses`` of the weak and the strong view."""

    views = ("weak", "strong")

    def __init__(self, method: MLKDMethod, standardized: bool) -> None:
        super().__init__()
        self.method = method
        self.standardized = standardized

    def losses(self, step: Step) -> dict[str, Tensor]:
        return mlkd_losses(
            step.student["weak"].logits,
            step.student["strong"].logits,
            step.teacher["weak"].logits,
            step.teacher["strong"].logits,
            step.target,
            self.method.temperature,
            self.method.ce_weight,
            self.method.kd_weight,
            self.standardized,
        )
