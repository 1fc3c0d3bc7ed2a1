"""Every strong operation against Pillow, image by image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from lskd_cli.data.augment.image_ops import OP_CODES, OPERATIONS, apply_ops
from lskd_cli.data.augment.strong_augment import (
    CUTOUT_COLOR,
    RANGES,
    cutout,
    sample_strong_params,
    strong_augment,
)

# Wider than the strong view's: RandAugment brightens too, and posterizes to nothing.
WIDER = {
    **RANGES,
    "Brightness": (0.05, 1.9),
    "Color": (0.05, 1.9),
    "Contrast": (0.05, 1.9),
    "Sharpness": (0.05, 1.9),
    "Posterize": (0, 8),
}


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda i, v: ImageOps.autocontrast(i),
    "Brightness": lambda i, v: ImageEnhance.Brightness(i).enhance(v),
    "Color": lambda i, v: ImageEnhance.Color(i).enhance(v),
    "Contrast": lambda i, v: ImageEnhance.Contrast(i).enhance(v),
    "Equalize": lambda i, v: ImageOps.equalize(i),
    "Identity": lambda i, v: i,
    "Posterize": lambda i, v: ImageOps.posterize(i, int(v)) if v >= 1 else i.point(lambda _: 0),
    "Rotate": lambda i, v: i.rotate(v),
    "Sharpness": lambda i, v: ImageEnhance.Sharpness(i).enhance(v),
    "ShearX": lambda i, v: _affine(i, 1, v, 0, 0, 1, 0),
    "ShearY": lambda i, v: _affine(i, 1, 0, 0, v, 1, 0),
    "Solarize": lambda i, v: ImageOps.solarize(i, v),
    "TranslateX": lambda i, v: _affine(i, 1, 0, v * i.width, 0, 1, 0),
    "TranslateY": lambda i, v: _affine(i, 1, 0, 0, 0, 1, v * i.height),
}


def images(count: int = 200) -> Tensor:
    """Noise, smooth ramps, dark, bright, low-contrast and constant images, (N, 3, 32, 32) uint8."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randint(0, 256, (count, 3, 32, 32), generator=generator)
    ramp = (torch.arange(32) * 8).view(1, 1, 1, 32).expand(count, 3, 32, 32)
    kind = torch.arange(count).view(-1, 1, 1, 1) % 6
    mixed = torch.where(kind == 0, noise, (noise // 8 + ramp).clamp(max=255))
    mixed = torch.where(kind == 2, noise // 5, mixed)
    mixed = torch.where(kind == 3, 200 + noise // 6, mixed)
    mixed = torch.where(kind == 4, 100 + noise // 32, mixed)
    return torch.where(kind == 5, noise[:, :, :1, :1], mixed).clamp(max=255).to(torch.uint8)


def to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pillow(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _same(name: str, count: int) -> Tensor:
    return torch.full((count,), OP_CODES[name])


def _parameters(name: str, count: int) -> Tensor:
    low, high = WIDER[name]
    generator = torch.Generator().manual_seed(11)
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def test_the_oracle_knows_the_same_operations() -> None:
    assert set(PILLOW) == set(OPERATIONS) == set(WIDER)
    assert len(RANGES) == 14


@pytest.mark.parametrize("name", PILLOW)
def test_an_operation_gives_the_pixels_of_pillow(name: str) -> None:
    batch, parameter = images(), _parameters(name, 200)
    result = apply_ops(batch, _same(name, 200), parameter)
    expected = torch.stack(
        [
            from_pillow(PILLOW[name](to_pillow(image), value))
            for image, value in zip(batch, parameter.tolist(), strict=True)
        ]
    )
    assert result.dtype == torch.uint8
    assert torch.equal(result, expected)


def test_a_batch_may_mix_all_operations() -> None:
    batch = images(80)
    operation = torch.arange(80) % len(OPERATIONS)
    parameter = torch.stack([_parameters(OPERATIONS[code], 80)[0] for code in operation])
    result = apply_ops(batch, operation, parameter)
    for place, index in enumerate(operation):
        one = slice(place, place + 1)
        alone = apply_ops(batch[one], _same(OPERATIONS[index], 1), parameter[one])
        assert torch.equal(result[one], alone)


@pytest.mark.parametrize("name", PILLOW)
def test_an_operation_leaves_its_input_alone(name: str) -> None:
    batch = images(12)
    before = batch.clone()
    apply_ops(batch, _same(name, 12), _parameters(name, 12))
    assert torch.equal(batch, before)


def test_the_cutout_is_the_rectangle_that_pillow_draws() -> None:
    batch = images()
    params = sample_strong_params(len(batch), torch.Generator().manual_seed(5))
    side, center = params.side, params.center
    side[0] = 0.0
    side[1:3], center[1], center[2] = 0.5, 0.0, 0.999999
    result = cutout(batch, side, center)
    for image, share, (x, y), drawn in zip(batch, side, center, result, strict=True):
        expected, length = to_pillow(image), share.item() * 32
        if length > 0:
            left = int(max(0, x.item() * 32 - length / 2))
            top = int(max(0, y.item() * 32 - length / 2))
            corners = (left, top, min(32, left + length), min(32, top + length))
            ImageDraw.Draw(expected).rectangle(corners, CUTOUT_COLOR)
        assert torch.equal(drawn, from_pillow(expected))


def test_the_draws_cover_every_operation_and_range_evenly() -> None:
    count = 100_000
    params = sample_strong_params(count, torch.Generator().manual_seed(1))
    codes = torch.tensor([OP_CODES[name] for name in RANGES])
    places = (params.operation[..., None] == codes).int().argmax(dim=-1)
    assert torch.equal(codes[places], params.operation)
    for slot in range(2):
        share = torch.bincount(places[:, slot], minlength=14) / count
        # four standard deviations of a share of 1/14 in 100 000 draws
        assert (share - 1 / 14).abs().max().item() < 4 * (1 / 14 / count) ** 0.5
    first, second = places.unbind(1)
    together = torch.bincount(first * 14 + second, minlength=196)
    assert (together / count - 1 / 196).abs().max().item() < 5 * (1 / 196 / count) ** 0.5
    for index, (low, high) in enumerate(RANGES.values()):
        if high == low:
            continue
        values = params.parameter[places == index]
        scaled = (values - low) / (high - low)
        assert 0 <= scaled.min().item() <= 0.001
        assert 0.999 <= scaled.max().item() <= 1
        assert scaled.mean().item() == pytest.approx(0.5, abs=0.012)
        assert scaled.var().item() == pytest.approx(1 / 12, rel=0.03)
    assert params.side.max().item() <= 0.5
    assert params.side.mean().item() == pytest.approx(0.25, abs=0.003)
    assert params.center.mean().item() == pytest.approx(0.5, abs=0.003)


def test_both_operations_of_an_image_are_applied_in_order() -> None:
    batch = images(60)
    params = sample_strong_params(60, torch.Generator().manual_seed(2))
    result = strong_augment(batch, params)
    without_cutout = batch
    for slot in range(2):
        without_cutout = apply_ops(
            without_cutout, params.operation[:, slot], params.parameter[:, slot]
        )
    assert torch.equal(result, cutout(without_cutout, params.side, params.center))


def test_smoothing_is_the_filter_that_pillow_calls_smooth() -> None:
    assert ImageFilter.SMOOTH.filterargs == ((3, 3), 13, 0, (1, 1, 1, 1, 5, 1, 1, 1, 1))
