"""SKD: KD of uncertain images, and a relation term of the logits of a batch (CVPR 2026).

    loss = ce_weight * CE(s, y) + kd_weight * (m * KD(s, t; T) + mc * relation)

m is the fraction of images whose teacher confidence is at most the median of the batch, mc that of
classes whose summed teacher probability is at most the median over classes. relation is a
Mahalanobis distance between the similarities of the images of the batch.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import LogitDistiller, at_least_float32
from lskd_cli.distillers.features import l2_normalize
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.mlkd import fraction_up_to_median
from lskd_cli.distillers.registry import register


def skd_loss(student: Tensor, teacher: Tensor, ridge: float) -> Tensor:
    """Mean of sqrt(d' (cov(D) + ridge * I)^-1 d) over the rows d of D = (Z_s Z_s' - Z_t Z_t') / C.

    Args:
        student: (B, C) logits; Z_s are these with L2-normalized rows.
        teacher: (B, C) logits.
        ridge: added to the diagonal of the (B, B) covariance, above 0.

    Returns:
        Scalar, at least float32. The gradient of a row of zeros is zero.
    """
    student, teacher = (l2_normalize(at_least_float32(z), dim=1) for z in (student, teacher))
    difference = (student @ student.T - teacher @ teacher.T) / student.shape[1]
    centered = difference - difference.mean(dim=0)
    covariance = centered.T @ centered / max(len(student) - 1, 1)
    identity = torch.eye(len(student), dtype=covariance.dtype, device=covariance.device)
    # cholesky_ex does not look at its result, as cholesky does to raise an error.
    factor = torch.linalg.cholesky_ex(covariance + ridge * identity).L
    whitened = torch.linalg.solve_triangular(factor, difference.T, upper=False)
    distances: Tensor = torch.linalg.vector_norm(whitened, dim=0)
    return distances.mean()


class SKDConfig(MethodConfig):
    """Hyper-parameters of SKD; kd_weight multiplies both terms."""

    uses_batch_relations: ClassVar[bool] = True
    name: Literal["skd"]
    temperature: PositiveFloat  # of the KD term
    ridge: PositiveFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat


@register(SKDConfig)
class SKD(LogitDistiller):
    """Cross entropy, the weighted KD term and ``skd_loss`` on the weak view."""

    config: SKDConfig

    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        probabilities = F.softmax(at_least_float32(teacher), dim=1)
        image_fraction = fraction_up_to_median(probabilities.amax(dim=1))
        class_fraction = fraction_up_to_median(probabilities.sum(dim=0))
        kd = kd_loss(student, teacher, self.config.temperature)
        relation = skd_loss(student, teacher, self.config.ridge)
        return image_fraction * kd + class_fraction * relation
