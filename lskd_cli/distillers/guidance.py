"""Locality guidance (Li et al., ECCV 2022, arXiv:2207.10026): a transformer imitates a CNN.

    loss = ce_weight * CE(s, y) + guidance_weight * sum over pairs of mean((A(f_s) - f_t)^2)

f_t is a stage of the teacher, f_s a layer of the student, and A a learned 1x1 convolution to the
teacher's channels. The smaller map is resized bilinearly to the size of the larger one.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor, nn

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import Distiller, StepInputs, at_least_float32
from lskd_cli.distillers.features import FeatureSpec, Shape
from lskd_cli.distillers.registry import register
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
    for student_map, teacher_map in zip(student, teacher, strict=True):
        side = max(student_map.shape[2], teacher_map.shape[2])
        losses.append(F.mse_loss(_resize(student_map, side), _resize(teacher_map, side)))
    return torch.stack(losses).sum()


def _resize(feature: Tensor, side: int) -> Tensor:
    feature = at_least_float32(feature)
    if feature.shape[2] == side:
        return feature
    return F.interpolate(feature, size=(side, side), mode="bilinear", align_corners=False)


LayerIndices = Annotated[list[NonNegativeInt], Field(min_length=1)]


class GuidanceConfig(MethodConfig):
    """Hyper-parameters of locality guidance."""

    search_fields: ClassVar[tuple[str, ...]] = ("guidance_weight",)
    name: Literal["guidance"]
    ce_weight: NonNegativeFloat
    guidance_weight: NonNegativeFloat
    teacher_stages: LayerIndices  # counted from 0, after the stem
    student_layers: LayerIndices  # one for each teacher stage

    @model_validator(mode="after")
    def _check_lengths(self) -> "GuidanceConfig":
        if len(self.teacher_stages) != len(self.student_layers):
            raise ValueError(
                f"student_layers: {len(self.student_layers)} layers for "
                f"{len(self.teacher_stages)} teacher_stages; give one layer for each stage"
            )
        return self

    @property
    def uses_logits(self) -> bool:
        return False


@register(GuidanceConfig)
class Guidance(Distiller):
    """Cross entropy and ``guidance_loss`` on the weak view."""

    required_features = ("feats",)

    def __init__(self, config: GuidanceConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Create the adapters.

        Args:
            config: selects layers and stages.
            standardized: unused, since the method uses no logits.
            spec: shapes of the features.

        Raises:
            RequestError: a layer or stage does not exist.
        """
        super().__init__(config, standardized)
        layers = _select(spec.student.feats, config.student_layers, "student_layers")
        stages = _select(spec.teacher.feats, config.teacher_stages, "teacher_stages")
        self.adapters = nn.ModuleList(
            nn.Conv2d(layer[0], stage[0], kernel_size=1)
            for layer, stage in zip(layers, stages, strict=True)
        )

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        student, teacher = inputs.student["weak"], inputs.teacher["weak"]
        with inputs.precision():
            adapted = [
                adapt(student.feats[1 + layer])
                for adapt, layer in zip(self.adapters, self.config.student_layers, strict=True)
            ]
        guides = [teacher.feats[1 + stage] for stage in self.config.teacher_stages]
        ce = inputs.cross_entropy(student.logits)
        return {
            "ce": self.config.ce_weight * ce,
            "guidance": self.config.guidance_weight * guidance_loss(adapted, guides),
        }


def _select(shapes: Sequence[Shape], indices: Sequence[int], key: str) -> list[Shape]:
    count = len(shapes) - 1  # without the stem
    for index in indices:
        if index >= count:
            raise RequestError(f"method.{key}: must be between 0 and {count - 1}, not {index}")
    return [shapes[1 + index] for index in indices]
