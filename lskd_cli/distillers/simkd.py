"""SimKD: knowledge distillation with the reused teacher classifier (Chen et al., CVPR 2022).

    loss = feature_weight * mean (projector(f_s) - f_t)^2

f are the last maps (arXiv:2203.14001). The student consists of its own layers up to this map, the
projector, the mean over all positions, and the teacher's classifier, which is not trained.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs
from lskd_cli.distillers.features import FeatureDistiller, FeatureSpec, match_spatial_size
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output, SimKDProjector, simkd_name

__all__ = ["SimKD", "SimKDConfig", "SimKDProjector", "simkd_loss"]


def simkd_loss(student: Tensor, teacher: Tensor, projector: nn.Module) -> Tensor:
    """Mean squared difference of all elements of the projected map and the teacher's map.

    Args:
        student: (B, C, H, W) last maps.
        teacher: (B, C', H', W') last maps; the larger maps are average-pooled to the smaller size,
            those of the student before the projection.
        projector: from C to C' channels.

    Returns:
        Scalar, at least float32.
    """
    student, teacher = match_spatial_size(student, teacher)
    return F.mse_loss(projector(student), teacher)


class SimKDConfig(FeatureMethodConfig):
    """Hyper-parameters of SimKD."""

    name: Literal["simkd"]
    factor: Annotated[int, Field(ge=1, le=1024)]  # reduction of channels in the projector

    def student_model(self, student: str, teacher: str | None) -> str:
        return simkd_name(student, str(teacher), self.factor)


@register(SimKDConfig)
class SimKD(FeatureDistiller):
    """``simkd_loss`` of a student whose last map is projected already."""

    required_features = ("final_map",)
    config: SimKDConfig

    def __init__(self, config: SimKDConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Copy the teacher's classifier to the student."""
        super().__init__(config, standardized, spec)
        assert spec.classifiers is not None
        student, teacher = spec.classifiers
        with torch.no_grad():
            for own, other in zip(student.parameters(), teacher.parameters(), strict=True):
                if not own.is_meta:
                    own.copy_(other)

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        assert student.final_map is not None
        assert teacher.final_map is not None
        return simkd_loss(student.final_map, teacher.final_map, nn.Identity())
