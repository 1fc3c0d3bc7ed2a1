"""Batched crops against Pillow, image by image."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from lskd_cli.data.resample import crop_and_resize
from tests.data.test_image_ops import from_pillow, images, to_pillow

COUNT = 60


def _boxes() -> list[tuple[int, int, int, int]]:
    random.seed(0)
    image = Image.new("RGB", (32, 32))
    get = RandomResizedCropAndInterpolation.get_params
    return [get(image, (0.02, 1.0), (0.5, 2.0)) for _ in range(COUNT)]


def _by_pillow(batch: Tensor, flip: Tensor, size: int, interpolation: str) -> Tensor:
    results = []
    for image, box, is_flipped in zip(batch, _boxes(), flip.tolist(), strict=True):
        mode = InterpolationMode(interpolation)
        result = from_pillow(resized_crop(to_pillow(image), *box, [size, size], mode))
        results.append(result.flip(2) if is_flipped else result)
    return torch.stack(results)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [224, 32, 16])
def test_a_crop_has_the_pixels_of_pillow_but_for_rounding(size: int, interpolation: str) -> None:
    batch = images(COUNT)
    flip = torch.arange(COUNT) % 3 == 0
    result = crop_and_resize(batch, torch.tensor(_boxes()), flip, size, interpolation)
    difference = (result.int() - _by_pillow(batch, flip, size, interpolation).int()).abs()
    assert result.dtype == torch.uint8
    # Pillow takes columns first for some sizes, and then cuts overshoots at another time.
    assert difference.max().item() <= (2 if size >= 32 else 12)
    assert (difference > 0).float().mean().item() < 0.05
    assert (difference > 2).float().mean().item() < 1e-3


def test_the_whole_image_at_its_own_size_is_itself() -> None:
    batch = images(12)
    full_box = torch.tensor([[0, 0, 32, 32]]).expand(12, 4)
    same = crop_and_resize(batch, full_box, torch.zeros(12, dtype=torch.bool), 32, "bicubic")
    mirrored = crop_and_resize(batch, full_box, torch.ones(12, dtype=torch.bool), 32, "bicubic")
    assert torch.equal(same, batch)
    assert np.array_equal(mirrored.numpy(), batch.flip(3).numpy())
