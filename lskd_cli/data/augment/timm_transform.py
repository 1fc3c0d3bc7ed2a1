"""timm's training transform, and the generators that it uses."""

import random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from lskd_cli.config import Data
from lskd_cli.errors import RequestError


def timm_transform(data: Data, to_pixels: bool = False) -> Any:
    """Timm's training transform of a Pillow image.

    Args:
        data: size, flip, policy, erasing and normalization.
        to_pixels: return (3, S, S) uint8 pixels without erasing, instead of a normalized tensor.

    Raises:
        RequestError: timm does not know the policy.
    """
    from timm.data import create_transform
    from timm.data.auto_augment import RandAugment

    augmentation = data.augmentation
    assert augmentation is not None
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
    for step in transform.transforms:
        for operation in step.ops if isinstance(step, RandAugment) else ():
            if operation.name.startswith("Posterize"):
                operation.aug_fn = _posterize
    return transform


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Pillow's posterize, and black for 0 bits, which Pillow 13 refuses."""
    return ImageOps.posterize(image, bits) if bits > 0 else image.point(lambda _: 0)


def seed_everything(seed: int) -> None:
    """Seed all generators that timm uses."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
