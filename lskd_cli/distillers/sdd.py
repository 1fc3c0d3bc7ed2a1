"""SDD: scale decoupled distillation (Wei et al., CVPR 2024, arXiv:2403.13512), of KD and of DKD.

    loss = ce_weight * CE(s, y) + min(epoch / warmup, 1) * kd_weight * SDD

The last feature map is averaged over regions, 1x1, 2x2 and 4x4 of them, and the classifier turns
each average into logits. SDD compares the logits of every region by KD or DKD. A region counts
twice if the teacher's answers for it and for the whole image are not both right or both wrong.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lskd_cli.config import MethodConfig
from lskd_cli.distillers.base import Distiller, StepInputs, linear_warmup
from lskd_cli.distillers.dkd import DKDSettings, dkd_loss
from lskd_cli.distillers.features import FeatureSpec
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.registry import register
from lskd_cli.models import Output

_GRIDS = (1, 2, 4)  # regions in each direction


def sdd_kd_loss(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float, standardized: bool = False
) -> Tensor:
    """KD of each region, weighted, mean over images and regions.

    Args:
        student: (B, C, R) logits of R regions; region 0 is the whole image.
        teacher: (B, C, R) logits.
        target: (B,) class indices.
        temperature: above 0.
        standardized: standardize the logits of each region first.

    Returns:
        Scalar, at least float32.
    """
    rows, others = _rows(student), _rows(teacher)
    losses = kd_loss(rows, others, temperature, standardized, reduction="none")
    return (_region_weights(teacher, target).flatten() * losses).mean()


def sdd_dkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    standardized: bool = False,
) -> Tensor:
    """DKD of each region, weighted, mean over images and regions.

    Args:
        student: (B, C, R) logits of R regions; region 0 is the whole image.
        teacher: (B, C, R) logits.
        target: (B,) class indices.
        alpha: weight of TCKD.
        beta: weight of NCKD.
        temperature: above 0.
        standardized: standardize the logits of each region first.

    Returns:
        Scalar, at least float32.
    """
    targets = target[:, None].expand(-1, student.shape[2]).flatten()
    losses = dkd_loss(
        _rows(student),
        _rows(teacher),
        targets,
        alpha,
        beta,
        temperature,
        standardized,
        reduction="none",
    )
    return (_region_weights(teacher, target).flatten() * losses).mean()


def region_logits(final_map: Tensor, classifier: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, C, 21) logits of the regions of a (B, F, H, W) map; the first one is the whole image."""
    regions = [F.adaptive_avg_pool2d(final_map, grid).flatten(2) for grid in _GRIDS]
    return classifier(torch.cat(regions, dim=2).transpose(1, 2)).transpose(1, 2)


def _rows(logits: Tensor) -> Tensor:
    """(B, C, R) logits as (B * R, C)."""
    return logits.transpose(1, 2).flatten(0, 1)


def _region_weights(teacher: Tensor, target: Tensor) -> Tensor:
    """(B, R): 1 where region and image are both right or both wrong, else 2."""
    is_right = teacher.argmax(dim=1) == target[:, None]
    return 1 + (is_right != is_right[:, :1]).to(torch.promote_types(teacher.dtype, torch.float32))


class SDDKDConfig(MethodConfig):
    """Hyper-parameters of SDD with KD."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("warmup",)
    name: Literal["sdd_kd"]
    temperature: PositiveFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat
    warmup: PositiveInt  # epochs of linear warm-up of the distillation loss


class SDDDKDConfig(DKDSettings):
    """Hyper-parameters of SDD with DKD."""

    name: Literal["sdd_dkd"]


class _SDD(Distiller):
    """Cross entropy, and a loss of the logits of all regions."""

    required_features = ("final_map",)

    def __init__(self, config: Any, standardized: bool, spec: FeatureSpec) -> None:
        super().__init__(config, standardized)
        # In a tuple, since they belong to their networks.
        assert spec.classifiers is not None
        self.classifiers = spec.classifiers

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        config = self.config
        student, teacher = inputs.student["weak"], inputs.teacher["weak"]
        with inputs.precision():
            regions = [
                _of_output(output, classifier)
                for output, classifier in zip((student, teacher), self.classifiers, strict=True)
            ]
        loss = config.kd_weight * self.loss(regions[0], regions[1].detach(), inputs.target)
        ce = config.ce_weight * inputs.cross_entropy(student.logits)
        return {"ce": ce, config.name: linear_warmup(loss, config, inputs.epoch)}

    @abstractmethod
    def loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """The loss of (B, C, 21) logits, without its weight."""


def _of_output(output: Output, classifier: nn.Linear) -> Tensor:
    assert output.final_map is not None
    return region_logits(output.final_map, classifier)


@register(SDDKDConfig)
class SDDKD(_SDD):
    """Cross entropy and ``sdd_kd_loss`` on the weak view."""

    config: SDDKDConfig

    def loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return sdd_kd_loss(student, teacher, target, self.config.temperature, self.standardized)


@register(SDDDKDConfig)
class SDDDKD(_SDD):
    """Cross entropy and ``sdd_dkd_loss`` on the weak view.

    The loss is summed over regions, as in the released code; that of ``SDDKD`` is their mean.
    """

    config: SDDDKDConfig

    def loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        config = self.config
        return student.shape[2] * sdd_dkd_loss(
            student,
            teacher,
            target,
            config.alpha,
            config.beta,
            config.temperature,
            self.standardized,
        )
