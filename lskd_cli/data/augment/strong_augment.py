"""The strong view: two operations drawn from fourteen, then a gray cutout.

The operations and ranges follow the released code of MLKD (those of RandAugment in FixMatch,
arXiv:2001.07685, table 12); the results equal Pillow's.
"""

import torch
from torch import Tensor

from lskd_cli.data.augment.image_ops import OP_CODES, apply_ops
from lskd_cli.data.batch import StrongParams

OPERATIONS_PER_IMAGE = 2
# Operations with the range from which their parameter is drawn uniformly; 0 if they have none.
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
CUTOUT_FRACTION = 0.5  # largest side as a fraction of the width of the image
CUTOUT_COLOR = (125, 123, 114)


def sample_strong_params(count: int, generator: torch.Generator) -> StrongParams:
    """Draw the operations (with replacement), their parameters and the cutouts of strong views."""
    shape = (count, OPERATIONS_PER_IMAGE)
    choice = torch.randint(0, len(RANGES), shape, generator=generator)
    low, high = torch.tensor(list(RANGES.values()), dtype=torch.float64)[choice].unbind(-1)
    uniform = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    return StrongParams(
        operation=torch.tensor([OP_CODES[name] for name in RANGES])[choice],
        parameter=low + (high - low) * uniform[:, :2],
        side=CUTOUT_FRACTION * uniform[:, 2],
        center=uniform[:, 3:],
    )


def strong_augment(images: Tensor, params: StrongParams) -> Tensor:
    """Strong views of (N, 3, H, W) uint8 images."""
    for number in range(OPERATIONS_PER_IMAGE):
        images = apply_ops(images, params.operation[:, number], params.parameter[:, number])
    return cutout(images, params.side, params.center)


def cutout(images: Tensor, side: Tensor, center: Tensor) -> Tensor:
    """Draw gray rectangles into (B, 3, H, W) uint8 images.

    In each direction, a rectangle extends from start = int(max(0, center - side / 2)) to
    min(size, start + side), both ends included, like a rectangle that Pillow draws.

    Args:
        images: (B, 3, H, W) uint8.
        side: (B,) fractions of the width.
        center: (B, 2) fractions of width and height.
    """
    height, width = images.shape[-2:]
    length = side * width
    inside = []
    for axis, size in ((0, width), (1, height)):
        start = (center[:, axis] * size - length / 2).clamp(min=0).floor()
        end = (start + length).clamp(max=size).floor()
        position = torch.arange(size, device=images.device)
        inside.append((position >= start[:, None]) & (position <= end[:, None]))
    columns, rows = inside
    area = rows[:, :, None] & columns[:, None, :] & (length > 0)[:, None, None]
    channels = zip(images.unbind(1), CUTOUT_COLOR, strict=True)
    return torch.stack([torch.where(area, color, channel) for channel, color in channels], dim=1)
