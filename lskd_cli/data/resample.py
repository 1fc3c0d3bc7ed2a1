"""Crops of a batch, each of its own place and size, brought to one size.

Pixels are those of Pillow's resize but for rounding: a filter along the rows, rounding, the same
along the columns. A crop's filter is a matrix, so that a batch takes two matrix products.
"""

import torch
from torch import Tensor


def crop_and_resize(
    images: Tensor, boxes: Tensor, flip: Tensor, size: int, interpolation: str
) -> Tensor:
    """Crops of images, resized, some of them mirrored.

    Args:
        images: (B, 3, H, W) uint8.
        boxes: (B, 4) top, left, height and width of the crops, whole pixels inside the image.
        flip: (B,) bool.
        size: S of the result.
        interpolation: bilinear or bicubic.

    Returns:
        (B, 3, S, S) uint8.
    """
    top, left, height, width = boxes.to(torch.float32).unbind(1)
    of_rows = _filters(top, height, images.shape[2], size, interpolation)
    of_columns = _filters(left, width, images.shape[3], size, interpolation)
    of_columns = torch.where(flip[:, None, None], of_columns.flip(1), of_columns)
    # One row of pixels times one matrix for all channels and rows of an image.
    wide = _rounded(images.to(torch.float32) @ of_columns.transpose(1, 2)[:, None])
    return _rounded(of_rows[:, None] @ wide).to(torch.uint8)


def _rounded(pixels: Tensor) -> Tensor:
    return pixels.add_(0.5).floor_().clamp_(0, 255)


def _filters(start: Tensor, length: Tensor, pixels: int, size: int, interpolation: str) -> Tensor:
    """(B, size, pixels) weights of every pixel in every resized one; of a crop along one axis."""
    position = torch.arange(pixels, device=start.device, dtype=torch.float32)
    place = torch.arange(size, device=start.device, dtype=torch.float32)
    step = (length / size)[:, None, None]
    reach = step.clamp(min=1.0)  # where images get smaller, the filter gets wider
    centre = (place[:, None] + 0.5) * step
    inside = position - start[:, None, None]
    distance = ((inside + 0.5 - centre) / reach).abs()
    weights = _bicubic(distance) if interpolation == "bicubic" else (1 - distance).clamp(min=0)
    weights = weights * ((inside >= 0) & (inside < length[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def _bicubic(x: Tensor) -> Tensor:
    """Keys' filter with a = -0.5, as Pillow resizes, of distances."""
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
