"""RKD: relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068).

    loss = ce_weight * CE(s, y)
         + feature_weight * (distance_weight * mean h(d_s - d_t) + angle_weight * mean h(a_s - a_t))

d are the distances between the images of a batch, divided by their mean; a are the cosines of the
angles that two images form at a third; h is the Huber loss with threshold 1.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor

from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers.base import StepInputs, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, l2_normalize, pooled_features
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output

_EPS = 1e-12  # smallest squared distance between two images


def rkd_loss(
    student: Tensor, teacher: Tensor, distance_weight: float = 25, angle_weight: float = 50
) -> Tensor:
    """Weighted Huber losses of distances and angles, mean over pairs and triples.

    Args:
        student: (B, F) features.
        teacher: (B, F') features.
        distance_weight: weight of the distances.
        angle_weight: weight of the angles.

    Returns:
        Scalar, at least float32. It is zero for a batch of one image or of equal images.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    distances = F.smooth_l1_loss(_distances(student), _distances(teacher))
    angles = F.smooth_l1_loss(_angles(student), _angles(teacher))
    return distance_weight * distances + angle_weight * angles


def _distances(features: Tensor) -> Tensor:
    """(B, B) distances divided by the mean of the nonzero ones."""
    squares = features.square().sum(dim=1)
    squared = squares[:, None] + squares[None] - 2 * features @ features.T
    distances = squared.clamp(min=_EPS).sqrt()
    distances = distances * (1 - torch.eye(len(features), device=features.device))
    count = (distances > 0).sum().clamp(min=1)
    mean = (distances.sum() / count).clamp(min=_EPS)
    return distances / mean


def _angles(features: Tensor) -> Tensor:
    """(B, B, B): cosine of the angle between the second and third image at the first."""
    directions = l2_normalize(features[None] - features[:, None], dim=2)
    return directions @ directions.transpose(1, 2)


class RKDConfig(FeatureMethodConfig):
    """Hyper-parameters of relational knowledge distillation."""

    uses_batch_relations: ClassVar[bool] = True
    name: Literal["rkd"]
    distance_weight: NonNegativeFloat = 25.0
    angle_weight: NonNegativeFloat = 50.0


@register(RKDConfig)
class RKD(FeatureDistiller):
    """Cross entropy and ``rkd_loss`` of the pooled features."""

    required_features = ("pooled",)
    config: RKDConfig

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        weights = self.config.distance_weight, self.config.angle_weight
        return rkd_loss(pooled_features(student), pooled_features(teacher), *weights)
