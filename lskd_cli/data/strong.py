"""The strong view: two operations drawn from fourteen, then a grey cutout.

The draws follow the released code of MLKD (methods and ranges as in RandAugment of FixMatch,
arXiv:2001.07685, table 12); the pixels follow Pillow.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lskd_cli.data import operations as ops

OPERATIONS_PER_IMAGE = 2
CUTOUT_SHARE = 0.5  # largest side, as a share of the image's width
CUTOUT_COLOUR = (125, 123, 114)


@dataclass
class Operation:
    """One of the fourteen: its parameter is drawn uniformly from low to high."""

    name: str
    apply: Callable[[Tensor, Tensor], Tensor]  # (B, 3, H, W) uint8, (B,) float64
    low: float = 0.0
    high: float = 0.0


OPERATIONS = (
    Operation("AutoContrast", ops.auto_contrast),
    Operation("Brightness", ops.brightness, 0.05, 0.95),
    Operation("Color", ops.color, 0.05, 0.95),
    Operation("Contrast", ops.contrast, 0.05, 0.95),
    Operation("Equalize", ops.equalize),
    Operation("Identity", ops.identity),
    Operation("Posterize", ops.posterize, 4, 8),
    Operation("Rotate", ops.rotate, -30, 30),
    Operation("Sharpness", ops.sharpness, 0.05, 0.95),
    Operation("ShearX", ops.shear_x, -0.3, 0.3),
    Operation("ShearY", ops.shear_y, -0.3, 0.3),
    Operation("Solarize", ops.solarize, 0, 256),
    Operation("TranslateX", ops.translate_x, -0.3, 0.3),
    Operation("TranslateY", ops.translate_y, -0.3, 0.3),
)


@dataclass
class StrongDraws:
    """The random numbers of an epoch's strong views, by position in its order, on the CPU.

    Attributes:
        operation: (N, 2) indices into ``OPERATIONS``, with replacement.
        parameter: (N, 2) float64, from the range of each operation.
        side: (N,) of the cutout, as a share of the width.
        centre: (N, 2) of the cutout, horizontal and vertical, as a share of the size.
    """

    operation: Tensor
    parameter: Tensor
    side: Tensor
    centre: Tensor

    @staticmethod
    def draw(count: int, generator: torch.Generator) -> "StrongDraws":
        shape = (count, OPERATIONS_PER_IMAGE)
        operation = torch.randint(0, len(OPERATIONS), shape, generator=generator)
        low = torch.tensor([o.low for o in OPERATIONS], dtype=torch.float64)[operation]
        high = torch.tensor([o.high for o in OPERATIONS], dtype=torch.float64)[operation]
        uniform = torch.rand(count, 5, generator=generator, dtype=torch.float64)
        return StrongDraws(
            operation=operation,
            parameter=low + (high - low) * uniform[:, :2],
            side=CUTOUT_SHARE * uniform[:, 2],
            centre=uniform[:, 3:],
        )

    def apply(self, images: Tensor, part: slice) -> Tensor:
        """Strong views of (B, 3, H, W) uint8 images that stand at ``part`` of the order."""
        images = images.clone()
        for slot in range(OPERATIONS_PER_IMAGE):
            chosen, parameter = self.operation[part, slot], self.parameter[part, slot]
            for index, operation in enumerate(OPERATIONS):
                rows = (chosen == index).nonzero()[:, 0]
                if len(rows):
                    values = parameter[rows].to(images.device)
                    rows = rows.to(images.device)
                    images[rows] = operation.apply(images[rows], values)
        return cutout(images, self.side[part], self.centre[part])


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
    length = (side * width).to(images.device)
    inside = []
    for axis, size in ((0, width), (1, height)):
        middle = centre[:, axis].to(images.device) * size
        start = (middle - length / 2).clamp(min=0).floor()
        end = (start + length).clamp(max=size).floor()
        position = torch.arange(size, device=images.device)
        inside.append((position >= start[:, None]) & (position <= end[:, None]))
    columns, rows = inside
    area = (rows[:, :, None] & columns[:, None, :] & (length > 0)[:, None, None])[:, None]
    colour = torch.tensor(CUTOUT_COLOUR, dtype=torch.uint8, device=images.device).view(3, 1, 1)
    return torch.where(area, colour, images)
