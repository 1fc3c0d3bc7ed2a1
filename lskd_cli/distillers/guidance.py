"""Locality guidance (Li et al., ECCV 2022, arXiv:2207.10026): a transformer that imitates a CNN.

    loss = ce_weight * CE(s, y) + guidance_weight * sum over pairs of mean((A(f_s) - f_t)^2)

f_t is a stage of the teacher, f_s a layer of the student, A a learned 1x1 convolution to the
teacher's channels; the smaller map is enlarged bilinearly to the size of the larger.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.config import GuidanceMethod
from lskd_cli.distillers.base import Distiller, Step, at_least_float32
from lskd_cli.distillers.features import Pair, Shape
from lskd_cli.errors import RequestError


def guidance_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Sum of the mean squared differences of pairs of maps.

    Args:
        student: (B, C, H, W) maps, after their adapters.
        teacher: (B, C, H', W') maps.

    Returns:
        Scalar, at least float32.
    """
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        side = max(ours.shape[2], theirs.shape[2])
        losses.append(F.mse_loss(_enlarged(ours, side), _enlarged(theirs, side)))
    return torch.stack(losses).sum()


def _enlarged(feature: Tensor, side: int) -> Tensor:
    feature = at_least_float32(feature)
    if feature.shape[2] == side:
        return feature
    return F.interpolate(feature, size=(side, side), mode="bilinear", align_corners=False)


class Guidance(Distiller):
    """Cross entropy and ``guidance_loss`` on the weak view."""

    reads = ("feats",)

    def __init__(self, method: GuidanceMethod, standardized: bool, pair: Pair) -> None:
        """Make the adapters.

        Args:
            method: which layers and stages, and the weights.
            standardized: not of use here.
            pair: the networks.

        Raises:
            RequestError: a layer or stage does not exist.
        """
        super().__init__()
        self.method = method
        ours = _chosen(pair.student.feats, method.student_layers, "student_layers", "layers")
        theirs = _chosen(pair.teacher.feats, method.teacher_stages, "teacher_stages", "stages")
        self.adapters = nn.ModuleList(
            nn.Conv2d(own[0], other[0], kernel_size=1)
            for own, other in zip(ours, theirs, strict=True)
        )

    def losses(self, step: Step) -> dict[str, Tensor]:
        student, teacher = step.student["weak"], step.teacher["weak"]
        with step.precision():
            adapted = [
                adapt(student.feats[1 + layer])
                for adapt, layer in zip(self.adapters, self.method.student_layers, strict=True)
            ]
        guides = [teacher.feats[1 + stage] for stage in self.method.teacher_stages]
        ce = F.cross_entropy(at_least_float32(student.logits), step.target)
        return {
            "ce": self.method.ce_weight * ce,
            "guidance": self.method.guidance_weight * guidance_loss(adapted, guides),
        }


def _chosen(shapes: Sequence[Shape], wanted: Sequence[int], key: str, what: str) -> list[Shape]:
    count = len(shapes) - 1  # the first is the stem's
    for number in wanted:
        if number >= count:
            raise RequestError(
                f"method.{key}: there is no {number}; its {what} are 0 to {count - 1}"
            )
    return [shapes[1 + number] for number in wanted]
