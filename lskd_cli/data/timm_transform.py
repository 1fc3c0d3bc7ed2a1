"""timm's training transform, and the random choices it makes, as numbers for a whole batch."""

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
from lskd_cli.data.operations import CODES
from lskd_cli.errors import RequestError

_VARIANTS = re.compile("(Increasing|Original|Rel)$")  # timm's names for other ranges of one thing


def timm_transform(data: Data) -> Any:
    """Timm's transform of a Pillow image into a normalized (3, S, S) tensor.

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
            re_prob=augmentation.erasing,
            re_mode="pixel",
            mean=tuple(data.mean),
            std=tuple(data.std),
        )
    except (AssertionError, KeyError, ValueError) as error:
        raise RequestError(
            f"data.augmentation.policy: {augmentation.policy}: timm knows no such policy ({error})"
        ) from None
    for operation in _operations(transform):
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    return transform


def _part(transform: Any, kind: type) -> Any:
    return next((part for part in transform.transforms if isinstance(part, kind)), None)


def _operations(transform: Any) -> list[Any]:
    policy = _part(transform, RandAugment)
    return [] if policy is None else list(policy.ops)


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Pillow's, which since its release 13 refuses to keep no bits, as large magnitudes ask for."""
    return posterize(image, bits) if bits > 0 else image.point(lambda _: 0)


def _augmentation(data: Data) -> Augmentation:
    assert data.augmentation is not None
    return data.augmentation


def seed_everything(seed: int) -> None:
    """Start the generators that timm draws from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass
class Choices:
    """What timm's transform would do to each of some images.

    Attributes:
        boxes: (N, 4) top, left, height and width of crops.
        flip: (N,) bool.
        layers: for each operation of an image in their order, (N,) codes and (N,) parameters.
    """

    boxes: Tensor
    flip: Tensor
    layers: list[tuple[Tensor, Tensor]]


class Chooser:
    """Draws what timm's transform draws, in timm's own code, without images."""

    def __init__(self, data: Data) -> None:
        """Take the transform of a preset apart.

        Raises:
            RequestError: its policy has an operation that there is none of here.
        """
        self.flip = 0.5 if data.flip else 0.0
        transform = timm_transform(data)
        self.crop = _part(transform, RandomResizedCropAndInterpolation)
        self.augment = _part(transform, RandAugment)
        for operation in _operations(transform):
            name = _VARIANTS.sub("", operation.name)
            if name not in CODES:
                raise RequestError(
                    f"data.augmentation.policy: {operation.name} is not there for batches; "
                    "--set data.augmentation.pipeline=workers has it"
                )
            absolute = operation.name in ("TranslateX", "TranslateY")
            scale = 1 / data.image_size if absolute else 1.0
            # An operation is called with what the ones before returned: here a list of choices.
            operation.aug_fn = partial(_note, CODES[name], scale)

    def __call__(self, height: int, width: int, count: int) -> Choices:
        """For so many images of one size; after ``seed_everything``."""
        image = torch.empty(3, height, width, device="meta")
        boxes, flips = [], []
        layers = self.augment.num_layers if self.augment else 0
        codes = torch.full((layers, count), CODES["Identity"])
        parameters = torch.zeros(layers, count, dtype=torch.float64)
        for number in range(count):
            boxes.append(self.crop.get_params(image, self.crop.scale, self.crop.ratio))
            flips.append(random.random() < self.flip)
            for layer, (code, parameter) in enumerate(self.augment([]) if self.augment else ()):
                codes[layer, number] = code
                parameters[layer, number] = parameter
        return Choices(
            torch.tensor(boxes), torch.tensor(flips), list(zip(codes, parameters, strict=True))
        )


def _note(
    code: int, scale: float, choices: Sequence[tuple[int, float]], *levels: float, **_: object
) -> list[tuple[int, float]]:
    return [*choices, (code, scale * levels[0] if levels else 0.0)]


def eraser(data: Data, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Timm's random erasing of (N, 3, S, S) normalized images, in place, with noise per pixel."""
    erase: Callable[[Tensor], Tensor] = RandomErasing(
        _augmentation(data).erasing, mode="pixel", device=str(device)
    )
    return erase
