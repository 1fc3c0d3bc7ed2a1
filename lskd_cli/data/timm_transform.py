"""timm's training transform, and its random choices as parameters of a whole batch."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment, posterize
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor

from lskd_cli.config import Augmentation, Data
from lskd_cli.data.image_ops import OP_CODES
from lskd_cli.errors import RequestError

_VARIANTS = re.compile("(Increasing|Original|Rel)$")  # timm's suffixes for other ranges


def timm_transform(data: Data, to_pixels: bool = False) -> Any:
    """Timm's training transform of a Pillow image.

    Args:
        data: size, flip, policy, erasing and normalization.
        to_pixels: return (3, S, S) uint8 pixels without erasing, instead of a normalized tensor.

    Raises:
        RequestError: timm does not know the policy.
    """
    augmentation = _augmentation(data)
    try:
        transform = create_transform(
            data.image_size,
            is_training=True,
            hflip=0.5 if data.flip else 0.0,
            auto_augment=augmentation.policy,
            color_jitter=None,
            interpolation=augmentation.interpolation,
            re_prob=0.0 if to_pixels else augmentation.erasing,
            normalize=not to_pixels,
            re_mode="pixel",
            mean=tuple(data.mean),
            std=tuple(data.std),
        )
    except (AssertionError, KeyError, ValueError) as error:
        raise RequestError(
            f"data.augmentation.policy: timm does not know {augmentation.policy!r} ({error})"
        ) from None
    for operation in _operations(transform):
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    return transform


def _find(transform: Any, cls: type) -> Any:
    return next((step for step in transform.transforms if isinstance(step, cls)), None)


def _operations(transform: Any) -> list[Any]:
    policy = _find(transform, RandAugment)
    return [] if policy is None else list(policy.ops)


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Pillow's posterize, and black for 0 bits, which Pillow 13 refuses."""
    return posterize(image, bits) if bits > 0 else image.point(lambda _: 0)


def _augmentation(data: Data) -> Augmentation:
    assert data.augmentation is not None
    return data.augmentation


def seed_everything(seed: int) -> None:
    """Seed all generators that timm uses."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass
class TransformParams:
    """The random choices of timm's transform for N images.

    Attributes:
        boxes: (N, 4) top, left, height and width of the crops in pixels.
        flip: (N,) bool, whether the crop is flipped horizontally.
        layers: for each of the successive operations, (N,) codes and (N,) parameters.
    """

    boxes: Tensor
    flip: Tensor
    layers: list[tuple[Tensor, Tensor]]


class TransformSampler:
    """Makes the random choices of timm's transform with timm's own code, without images."""

    def __init__(self, data: Data) -> None:
        """Create the transform and let its operations record their parameters.

        Raises:
            RequestError: the policy has an operation that is not supported on batches.
        """
        self.flip = 0.5 if data.flip else 0.0
        transform = timm_transform(data)
        self.crop = _find(transform, RandomResizedCropAndInterpolation)
        self.augment = _find(transform, RandAugment)
        for operation in _operations(transform):
            name = _VARIANTS.sub("", operation.name)
            if name not in OP_CODES:
                raise RequestError(
                    f"data.augmentation.policy: {operation.name} is not supported on batches; use "
                    "--set data.augmentation.pipeline=workers"
                )
            absolute = operation.name in ("TranslateX", "TranslateY")
            scale = 1 / data.image_size if absolute else 1.0
            # An operation is called with the result of the one before, here a list of choices.
            operation.aug_fn = partial(_record, OP_CODES[name], scale)

    def __call__(self, height: int, width: int, count: int) -> TransformParams:
        """Choices for ``count`` images of one size; call ``seed_everything`` before."""
        image = torch.empty(3, height, width, device="meta")
        boxes, flips = [], []
        layers = self.augment.num_layers if self.augment else 0
        codes = torch.full((layers, count), OP_CODES["Identity"])
        parameters = torch.zeros(layers, count, dtype=torch.float64)
        for number in range(count):
            boxes.append(self.crop.get_params(image, self.crop.scale, self.crop.ratio))
            flips.append(random.random() < self.flip)
            for layer, (code, parameter) in enumerate(self.augment([]) if self.augment else ()):
                codes[layer, number] = code
                parameters[layer, number] = parameter
        return TransformParams(
            torch.tensor(boxes), torch.tensor(flips), list(zip(codes, parameters, strict=True))
        )


def _record(
    code: int, scale: float, choices: Sequence[tuple[int, float]], *levels: float, **_: object
) -> list[tuple[int, float]]:
    return [*choices, (code, scale * levels[0] if levels else 0.0)]


def random_erasing(data: Data, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Timm's random erasing of (N, 3, S, S) normalized images, in place, with noise per pixel."""
    erase: Callable[[Tensor], Tensor] = RandomErasing(
        _augmentation(data).erasing, mode="pixel", device=str(device)
    )
    return erase
