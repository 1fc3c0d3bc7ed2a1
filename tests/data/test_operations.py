"""Every strong operation against Pillow, image by image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from lskd_cli.data.strong import CUTOUT_COLOUR, OPERATIONS, StrongDraws, cutout

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda i, v: ImageOps.autocontrast(i),
    "Brightness": lambda i, v: ImageEnhance.Brightness(i).enhance(v),
    "Color": lambda i, v: ImageEnhance.Color(i).enhance(v),
    "Contrast": lambda i, v: ImageEnhance.Contrast(i).enhance(v),
    "Equalize": lambda i, v: ImageOps.equalize(i),
    "Identity": lambda i, v: i,
    "Posterize": lambda i, v: ImageOps.posterize(i, int(v)),
    "Rotate": lambda i, v: i.rotate(v),
    "Sharpness": lambda i, v: ImageEnhance.Sharpness(i).enhance(v),
    "ShearX": lambda i, v: _affine(i, 1, v, 0, 0, 1, 0),
    "ShearY": lambda i, v: _affine(i, 1, 0, 0, v, 1, 0),
    "Solarize": lambda i, v: ImageOps.solarize(i, v),
    "TranslateX": lambda i, v: _affine(i, 1, 0, v * i.width, 0, 1, 0),
    "TranslateY": lambda i, v: _affine(i, 1, 0, 0, 0, 1, v * i.height),
}
# Off by one where torchvision rounds and Pillow cuts; the rest is exact.
TOLERANCE = {"AutoContrast": 1, "Sharpness": 1}


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


def test_the_oracle_knows_the_same_fourteen_operations() -> None:
    assert set(PILLOW) == set(BY_NAME)
    assert len(BY_NAME) == 14


@pytest.mark.parametrize("name", PILLOW)
def test_an_operation_gives_the_pixels_of_pillow(name: str) -> None:
    operation, batch = BY_NAME[name], images()
    generator = torch.Generator().manual_seed(11)
    uniform = torch.rand(len(batch), generator=generator, dtype=torch.float64)
    parameter = operation.low + (operation.high - operation.low) * uniform
    result = operation.apply(batch, parameter)
    expected = torch.stack(
        [
            from_pillow(PILLOW[name](to_pillow(image), value))
            for image, value in zip(batch, parameter.tolist(), strict=True)
        ]
    )
    assert result.dtype == torch.uint8
    difference = (result.int() - expected.int()).abs()
    assert difference.max().item() <= TOLERANCE.get(name, 0)


@pytest.mark.parametrize("name", PILLOW)
def test_an_operation_leaves_its_input_alone(name: str) -> None:
    batch = images(12)
    before = batch.clone()
    BY_NAME[name].apply(batch, torch.full((12,), BY_NAME[name].high, dtype=torch.float64))
    assert torch.equal(batch, before)


def test_the_cutout_is_the_rectangle_that_pillow_draws() -> None:
    batch = images()
    draws = StrongDraws.draw(len(batch), torch.Generator().manual_seed(5))
    side, centre = draws.side.clone(), draws.centre.clone()
    side[0] = 0.0
    side[1:3], centre[1], centre[2] = 0.5, 0.0, 0.999999
    result = cutout(batch, side, centre)
    for image, share, (x, y), drawn in zip(batch, side, centre, result, strict=True):
        expected, length = to_pillow(image), share.item() * 32
        if length > 0:
            left = int(max(0, x.item() * 32 - length / 2))
            top = int(max(0, y.item() * 32 - length / 2))
            corners = (left, top, min(32, left + length), min(32, top + length))
            ImageDraw.Draw(expected).rectangle(corners, CUTOUT_COLOUR)
        assert torch.equal(drawn, from_pillow(expected))


def test_the_draws_cover_every_operation_and_range_evenly() -> None:
    count = 100_000
    draws = StrongDraws.draw(count, torch.Generator().manual_seed(1))
    for slot in range(2):
        share = torch.bincount(draws.operation[:, slot], minlength=14) / count
        # four standard deviations of a share of 1/14 in 100 000 draws
        assert (share - 1 / 14).abs().max().item() < 4 * (1 / 14 / count) ** 0.5
    together = torch.bincount(draws.operation[:, 0] * 14 + draws.operation[:, 1], minlength=196)
    assert (together / count - 1 / 196).abs().max().item() < 5 * (1 / 196 / count) ** 0.5
    for index, operation in enumerate(OPERATIONS):
        if operation.high == operation.low:
            continue
        values = draws.parameter[draws.operation == index]
        scaled = (values - operation.low) / (operation.high - operation.low)
        assert 0 <= scaled.min().item() <= 0.001
        assert 0.999 <= scaled.max().item() <= 1
        assert scaled.mean().item() == pytest.approx(0.5, abs=0.012)
        assert scaled.var().item() == pytest.approx(1 / 12, rel=0.03)
    assert draws.side.max().item() <= 0.5
    assert draws.side.mean().item() == pytest.approx(0.25, abs=0.003)
    assert draws.centre.mean().item() == pytest.approx(0.5, abs=0.003)


def test_both_operations_of_an_image_are_applied_in_order() -> None:
    batch = images(60)
    draws = StrongDraws.draw(60, torch.Generator().manual_seed(2))
    result = draws.apply(batch, slice(0, 60))
    without_cutout = batch
    for slot in range(2):
        without_cutout = torch.cat(
            [
                OPERATIONS[draws.operation[i, slot]].apply(
                    without_cutout[i : i + 1], draws.parameter[i : i + 1, slot]
                )
                for i in range(60)
            ]
        )
    assert torch.equal(result, cutout(without_cutout, draws.side, draws.centre))


def test_smoothing_is_the_filter_that_pillow_calls_smooth() -> None:
    assert ImageFilter.SMOOTH.filterargs == ((3, 3), 13, 0, (1, 1, 1, 1, 5, 1, 1, 1, 1))
