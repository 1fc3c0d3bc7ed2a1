"""The strong view: two operations drawn from fourteen, then a grey cutout.

The draws follow the released code of MLKD (methods and ranges as in RandAugment of FixMatch,
arXiv:2001.07685, table 12); the pixels follow Pillow.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lskd_cli.data.operations import CODES, operate

OPERATIONS_PER_IMAGE = 2
# Each with the range that its parameter is drawn from, uniformly; 0 where it has none.
RANGES: dict[str, tuple[float, float]] = {
    "AutoContrast": (0, 0),
    "Brightness": (0.05, 0.95),
    "Color": (0.05, 0.95),
    "Contrast": (0.05, 0.95),
    "Equalize": (0, 0),
    "Identity": (0, 0),
    "Posterize": (4, 8),
    "Rotate": (-30, 30),
    "Sharpness": (0.05, 0.95),
    "ShearX": (-0.3, 0.3),
    "ShearY": (-0.3, 0.3),
    "Solarize": (0, 256),
    "TranslateX": (-0.3, 0.3),
    "TranslateY": (-0.3, 0.3),
}
CUTOUT_SHARE = 0.5  # largest side, as a share of the image's width
CUTOUT_COLOUR = (125, 123, 114)


def draw_strong(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The random numbers of so many strong views.

    Returns:
        "operation", (N, 2) codes of operations, with replacement; "parameter", (N, 2) float64
        from the range of each; "side", (N,), and "centre", (N, 2), horizontal and vertical, of the
        cutout, as shares of the size.
    """
    shape = (count, OPERATIONS_PER_IMAGE)
    place = torch.randint(0, len(RANGES), shape, generator=generator)
    low, high = torch.tensor(list(RANGES.values()), dtype=torch.float64)[place].unbind(-1)
    uniform = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    return {
        "operation": torch.tensor([CODES[name] for name in RANGES])[place],
        "parameter": low + (high - low) * uniform[:, :2],
        "side": CUTOUT_SHARE * uniform[:, 2],
        "centre": uniform[:, 3:],
    }


def strengthen(images: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
    """Strong views of (N, 3, H, W) uint8 images, with the numbers of ``draw_strong``."""
    for slot in range(OPERATIONS_PER_IMAGE):
        images = operate(images, draws["operation"][:, slot], draws["parameter"][:, slot])
    return cutout(images, draws["side"], draws["centre"])


def cutout(images: Tensor, side: Tensor, centre: Tensor) -> Tensor:
    """Grey rectangles in (B, 3, H, W) uint8 images.

    From start = int(max(0, centre - side / 2)) to min(size, start + side) in each direction, both
    ends drawn, as Pillow draws a rectangle.

    Args:
        images: (B, 3, H, W) uint8.
        side: (B,) shares of the width.
        centre: (B, 2) shares of width and height.
    """
    height, width = images.shape[-2:]
    length = side * width
    inside = []
    for axis, size in ((0, width), (1, height)):
        start = (centre[:, axis] * size - length / 2).clamp(min=0).floor()
        end = (start + length).clamp(max=size).floor()
        position = torch.arange(size, device=images.device)
        inside.append((position >= start[:, None]) & (position <= end[:, None]))
    columns, rows = inside
    area = rows[:, :, None] & columns[:, None, :] & (length > 0)[:, None, None]
    channels = zip(images.unbind(1), CUTOUT_COLOUR, strict=True)
    return torch.stack([torch.where(area, colour, channel) for channel, colour in channels], dim=1)
