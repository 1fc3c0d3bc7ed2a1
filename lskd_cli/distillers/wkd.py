"""WKD: Wasserstein distance based distillation (Lv et al., NeurIPS 2024, arXiv:2412.08139).

WKD-L compares logits, with a cost of confusing two classes that is smaller for similar ones:

    loss = ce_weight * CE(s, y) + target + w(e) * transport

target is the cross entropy of the target class, weighted with the teacher's probability of it;
transport is the entropic optimal transport between the probabilities of the other classes. WKD-F
compares means and standard deviations of the last stage, as Gaussian distributions:

    loss = ce_weight * CE(s, y) + w(e) * sum of (r * (mean - mean')^2 + (std - std')^2)

w(e) is the weight until epoch decay_start, and then falls to 0 along half a cosine.
"""

import math
from itertools import product
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig, MethodConfig
from lskd_cli.distillers.base import Distiller, StepInputs, at_least_float32
from lskd_cli.distillers.dkd import drop_target
from lskd_cli.distillers.features import (
    BatchNorm,
    FeatureDistiller,
    FeatureSpec,
    match_spatial_size,
)
from lskd_cli.distillers.nkd import target_cross_entropy
from lskd_cli.distillers.registry import register
from lskd_cli.errors import RequestError
from lskd_cli.models import Output
from lskd_cli.zscore import standardize

_EPS = 1e-8  # of costs and scalings, as in the released code
_VARIANCE_EPS = 1e-5

_Iterations = Annotated[int, Field(ge=1, le=1000)]
_Grid = Annotated[int, Field(ge=1, le=16)]


def wkd_logit_losses(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    cost: Tensor,
    temperature: float,
    regularization: float,
    iterations: int,
    standardized: bool = False,
) -> dict[str, Tensor]:
    """The two terms without weights, means over the batch.

    Args:
        student: (B, C) logits, C at least 2.
        teacher: (B, C) logits.
        target: (B,) class indices.
        cost: (C, C) cost of moving probability between two classes, at least 0.
        temperature: T of the transport, above 0; the target term has T = 1. There is no factor T^2.
        regularization: weight of the entropy of the transport plan, above 0.
        iterations: number of Sinkhorn iterations; gradients flow through all of them.
        standardized: standardize the logits of the transport; the target term keeps plain ones.

    Returns:
        ``{"target", "transport"}``, scalars of at least float32.
    """
    scale = standardize if standardized else at_least_float32
    p, q = (
        F.softmax(drop_target(scale(logits) / temperature, target), dim=1)
        for logits in (teacher, student)
    )
    index = torch.arange(p.shape[1], device=target.device)
    others = index + (index >= target[:, None])
    costs = cost.to(p.dtype)[others[:, :, None], others[:, None, :]].clamp(min=0) + _EPS
    kernel = (-costs / regularization).exp()
    u = torch.full_like(p, 1 / p.shape[1])
    v = u
    for _ in range(iterations):
        v = p / (torch.einsum("bij,bi->bj", kernel, u) + _EPS)
        u = q / (torch.einsum("bij,bj->bi", kernel, v) + _EPS)
    transport = torch.einsum("bi,bij,bj->b", u, kernel * costs, v).mean()
    return {"target": target_cross_entropy(student, teacher, target), "transport": transport}


def class_cost(features: Tensor, sharpness: float) -> Tensor:
    """Costs 1 - exp(-sharpness * d) with d = 1 - CKA, the linear kernel alignment of two classes.

    Args:
        features: (classes, n, d) outputs of the teacher for n images (or positions in them) of each
            class; row i of one class is compared with row i of the other.
        sharpness: above 0, or 0 for d itself.

    Returns:
        (classes, classes), with zeros on the diagonal.
    """
    centered = at_least_float32(features)
    centered = centered - centered.mean(dim=1, keepdim=True)
    # One class against all others at a time: all pairs of (d, d) products would fill the memory.
    squares = torch.stack(
        [(centered.transpose(1, 2) @ one).square().sum(dim=(1, 2)) for one in centered]
    )
    norms = squares.diagonal().sqrt()
    tiny = torch.finfo(squares.dtype).tiny
    similarity = squares / torch.outer(norms, norms).clamp(min=tiny)
    return _cost(1 - similarity, sharpness)


def classifier_cost(weight: Tensor, sharpness: float) -> Tensor:
    """The same with d = 1 - cosine of the rows of a classifier's (C, F) weight."""
    rows = F.normalize(at_least_float32(weight), dim=1)
    return _cost(1 - rows @ rows.T, sharpness)


def _cost(distances: Tensor, sharpness: float) -> Tensor:
    cost = -torch.expm1(-sharpness * distances) if sharpness > 0 else distances
    return cost.fill_diagonal_(0)


def wkd_feature_loss(student: Tensor, teacher: Tensor, mean_weight: float, grid: int) -> Tensor:
    """Distance of Gaussian distributions, summed over channels, mean over images and regions.

    Args:
        student: (B, C, H, W) maps.
        teacher: maps of the same shape.
        mean_weight: r, weight of the squared differences of means.
        grid: number of regions in each direction, with the bounds of adaptive pooling.

    Returns:
        Scalar, at least float32.

    Raises:
        ValueError: a region has one pixel, of which there is no standard deviation.
    """
    height, width = student.shape[2:]
    losses = []
    for rows, columns in product(_bounds(height, grid), _bounds(width, grid)):
        if (rows.stop - rows.start) * (columns.stop - columns.start) < 2:
            raise ValueError(f"grid: regions of {height}x{width} maps have one pixel; lower it")
        (student_variance, student_mean), (teacher_variance, teacher_mean) = (
            torch.var_mean(at_least_float32(maps[:, :, rows, columns]), dim=(2, 3))
            for maps in (student, teacher)
        )
        student_std, teacher_std = (
            (variance + _VARIANCE_EPS).sqrt() for variance in (student_variance, teacher_variance)
        )
        means = (student_mean - teacher_mean).square().sum(dim=1)
        stds = (student_std - teacher_std).square().sum(dim=1)
        losses.append(mean_weight * means + stds)
    return torch.stack(losses).mean()


def _bounds(size: int, grid: int) -> list[slice]:
    return [slice(i * size // grid, -(-(i + 1) * size // grid)) for i in range(grid)]


class WKDConfig(MethodConfig):
    """Hyper-parameters of WKD-L; kd_weight is the weight of the transport."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("decay_start",)
    name: Literal["wkd"]
    temperature: PositiveFloat
    regularization: PositiveFloat
    iterations: _Iterations
    # Distances of classes: from the teacher's features of all training images, or its classifier.
    cost: Literal["cka", "classifier"]
    sharpness: NonNegativeFloat
    ce_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat
    decay_start: NonNegativeInt  # last epoch of the full weight

    def data_problem(self, num_classes: int, on_disk: bool) -> str | None:
        """That features of all training images need images in memory."""
        if on_disk and self.cost == "cka":
            return "cost: cka needs images in memory; use classifier"
        return None


class WKDFConfig(FeatureMethodConfig):
    """Hyper-parameters of WKD-F."""

    epoch_fields: ClassVar[tuple[str, ...]] = ("decay_start",)
    name: Literal["wkd_f"]
    mean_weight: NonNegativeFloat
    grid: _Grid
    decay_start: NonNegativeInt  # last epoch of the full weight


@register(WKDConfig)
class WKD(Distiller):
    """Cross entropy and ``wkd_logit_losses`` on the weak view."""

    needs_spec = True
    config: WKDConfig
    cost: Tensor

    def __init__(self, config: WKDConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Compute the cost of the classes; a resumed run reads it from its state.

        Raises:
            RequestError: the teacher has no linear classifier.
        """
        super().__init__(config, standardized)
        self.epochs = spec.epochs
        if config.cost == "cka":
            cost = class_cost(spec.class_outputs(), config.sharpness)
        else:
            layer = spec.teacher_network.classifier_layer()
            if layer is None:
                raise RequestError("method.cost: the teacher has no linear classifier; use cka")
            cost = classifier_cost(layer.weight.detach(), config.sharpness)
        self.register_buffer("cost", cost)

    def losses(self, inputs: StepInputs) -> dict[str, Tensor]:
        config = self.config
        student = inputs.student["weak"].logits
        terms = wkd_logit_losses(
            student,
            inputs.teacher["weak"].logits,
            inputs.target,
            self.cost,
            config.temperature,
            config.regularization,
            config.iterations,
            self.standardized,
        )
        weight = config.kd_weight * decay(inputs.epoch, config.decay_start, self.epochs)
        return {
            "ce": config.ce_weight * inputs.cross_entropy(student),
            "target": terms["target"],
            "transport": weight * terms["transport"],
        }


@register(WKDFConfig)
class WKDF(FeatureDistiller):
    """Cross entropy and ``wkd_feature_loss`` of the last stage."""

    required_features = ("feats",)
    config: WKDFConfig

    def __init__(self, config: WKDFConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Create the projection to the teacher's channels.

        Raises:
            RequestError: a region of the last stage has one pixel.
        """
        super().__init__(config, standardized, spec)
        self.epochs = spec.epochs
        student, teacher = spec.student.feats[-1], spec.teacher.feats[-1]
        side = min(student[1], teacher[1])
        if any(b.stop - b.start < 2 for b in _bounds(side, config.grid)):
            remedy = f"the largest grid is {side - 1}" if side > 1 else "use larger images"
            raise RequestError(
                f"method.grid: a region of the last stage ({side}x{side}) has one pixel; {remedy}"
            )
        channels = teacher[0]
        self.projection = nn.Sequential(
            nn.Conv2d(student[0], channels, 1), BatchNorm(channels), nn.ReLU()
        )

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        config = self.config
        with inputs.precision():
            projected = self.projection(student.feats[-1])
        maps = match_spatial_size(projected, teacher.feats[-1])
        loss = wkd_feature_loss(*maps, config.mean_weight, config.grid)
        return decay(inputs.epoch, config.decay_start, self.epochs) * loss


def decay(epoch: Tensor, start: int, end: int) -> Tensor:
    """1 until epoch ``start`` (from 1), then (1 + cos(pi * x)) / 2 of the way x to ``end``."""
    part = ((epoch - start) / max(end - start, 1)).clamp(0, 1)
    return (1 + torch.cos(math.pi * part)) / 2
