"""RKD: relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068).

    loss = ce_weight * CE(s, y)
         + feature_weight * (distance_weight * mean h(d_s - d_t) + angle_weight * mean h(a_s - a_t))

d are the distances between the images of a batch, over their mean; a the cosines of the angles that
any two images make seen from a third; h is Huber's loss of threshold 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import RKDMethod
from lskd_cli.distillers.base import Step, at_least_float32
from lskd_cli.distillers.features import FeatureDistiller, pooled, unit
from lskd_cli.models import Output

_EPS = 1e-12  # smallest squared distance of two images


def rkd_loss(
    student: Tensor, teacher: Tensor, distance_weight: float = 25, angle_weight: float = 50
) -> Tensor:
    """Weighted Huber losses of distances and angles, mean over pairs and triples.

    Args:
        student: (B, F) features.
        teacher: (B, F') features.
        distance_weight: of the distances.
        angle_weight: of the angles.

    Returns:
        Scalar, at least float32. A batch of one, or of equal images, has no distances or angles.
    """
    ours, theirs = at_least_float32(student), at_least_float32(teacher)
    distances = F.smooth_l1_loss(_distances(ours), _distances(theirs))
    angles = F.smooth_l1_loss(_angles(ours), _angles(theirs))
    return distance_weight * distances + angle_weight * angles


def _distances(features: Tensor) -> Tensor:
    """(B, B) distances over the mean of those that are not 0."""
    squares = features.square().sum(dim=1)
    squared = squares[:, None] + squares[None] - 2 * features @ features.T
    distances = squared.clamp(min=_EPS).sqrt()
    distances = distances * (1 - torch.eye(len(features), device=features.device))
    count = (distances > 0).sum().clamp(min=1)
    mean = (distances.sum() / count).clamp(min=_EPS)
    return distances / mean


def _angles(features: Tensor) -> Tensor:
    """(B, B, B): cosine of the angle between the second and third images, seen from the first."""
    directions = unit(features[None] - features[:, None], dim=2)
    return directions @ directions.transpose(1, 2)


class RKD(FeatureDistiller):
    """Cross entropy and ``rkd_loss`` of the pooled features."""

    reads = ("pooled",)
    method: RKDMethod

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        weights = self.method.distance_weight, self.method.angle_weight
        return rkd_loss(pooled(student), pooled(teacher), *weights)
