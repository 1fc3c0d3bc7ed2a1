"""Crops of a batch, with a position and size for each image, resized to one size.

The results equal those of Pillow's resize up to rounding: a filter along the rows, rounding, and
the same along the columns. The filter of a crop is a matrix, so a batch takes two matrix products.
"""

import torch
from torch import Tensor


def crop_and_resize(
    images: Tensor, boxes: Tensor, flip: Tensor, size: int, interpolation: str
) -> Tensor:
    """Resized crops of images, some of them flipped horizontally.

    Args:
        images: (B, 3, H, W) uint8.
        boxes: (B, 4) top, left, height and width of the crops in pixels, within the image.
        flip: (B,) bool.
        size: S, the size of the result in pixels.
        interpolation: bilinear or bicubic.

    Returns:
        (B, 3, S, S) uint8.
    """
    top, left, height, width = boxes.to(torch.float32).unbind(1)
    row_filters = _filters(top, height, images.shape[2], size, interpolation)
    column_filters = _filters(left, width, images.shape[3], size, interpolation)
    column_filters = torch.where(flip[:, None, None], column_filters.flip(1), column_filters)
    # All channels and rows of an image share one matrix.
    resized = _round(images.to(torch.float32) @ column_filters.transpose(1, 2)[:, None])
    return _round(row_filters[:, None] @ resized).to(torch.uint8)


def _round(pixels: Tensor) -> Tensor:
    return pixels.add_(0.5).floor_().clamp_(0, 255)


def _filters(start: Tensor, length: Tensor, pixels: int, size: int, interpolation: str) -> Tensor:
    """(B, size, pixels) weights of the source pixels of each resized pixel, along one axis."""
    position = torch.arange(pixels, device=start.device, dtype=torch.float32)
    index = torch.arange(size, device=start.device, dtype=torch.float32)
    step = (length / size)[:, None, None]
    support = step.clamp(min=1.0)  # downsampling widens the filter
    center = (index[:, None] + 0.5) * step
    inside = position - start[:, None, None]
    distance = ((inside + 0.5 - center) / support).abs()
    weights = _bicubic(distance) if interpolation == "bicubic" else (1 - distance).clamp(min=0)
    weights = weights * ((inside >= 0) & (inside < length[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic filter with a = -0.5, as in Pillow's resize, for distances x."""
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
