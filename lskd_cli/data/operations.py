"""Fourteen image operations on batches, one parameter per image, with Pillow's results.

Each takes (B, 3, H, W) uint8 images and (B,) float64 parameters and returns new uint8 images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

# Rec. 601 luma in 16-bit fixed point, as Pillow's conversion to "L" has it.
_LUMA = (19595, 38470, 7471)


def identity(images: Tensor, parameter: Tensor) -> Tensor:
    """Nothing."""
    return images


def auto_contrast(images: Tensor, parameter: Tensor) -> Tensor:
    """Stretch each channel to 0..255."""
    stretched: Tensor = tv.autocontrast(images)
    return stretched


def equalize(images: Tensor, parameter: Tensor) -> Tensor:
    """Flatten the histogram of each channel."""
    equalized: Tensor = tv.equalize(images)
    return equalized


def posterize(images: Tensor, parameter: Tensor) -> Tensor:
    """Keep the highest int(parameter) bits."""
    step = 2 ** (8 - parameter.long())
    return images - images % _per_image(step).to(torch.uint8)


def solarize(images: Tensor, parameter: Tensor) -> Tensor:
    """Invert the values from the parameter on."""
    return torch.where(images < _per_image(parameter), images, 255 - images)


def brightness(images: Tensor, parameter: Tensor) -> Tensor:
    """Blend with black; the parameter is the share of the image, here and below."""
    return _blend(torch.zeros_like(images), images, parameter)


def color(images: Tensor, parameter: Tensor) -> Tensor:
    """Blend with its greys."""
    return _blend(_grey(images), images, parameter)


def contrast(images: Tensor, parameter: Tensor) -> Tensor:
    """Blend with its mean grey."""
    mean = (_grey(images).double().mean(dim=(1, 2, 3), keepdim=True) + 0.5).to(torch.uint8)
    return _blend(mean, images, parameter)


def sharpness(images: Tensor, parameter: Tensor) -> Tensor:
    """Blend with a smoothed copy: 3x3, the centre five times the rest; the border stays."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    # Whole numbers up to 13 * 255 are exact in float32: only the division rounds.
    inner = F.conv2d(images.float(), kernel, groups=3) / kernel[0].sum()
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (inner + 0.5).to(torch.uint8)
    return _blend(smooth, images, parameter)


def rotate(images: Tensor, parameter: Tensor) -> Tensor:
    """Rotate counter-clockwise by degrees about the centre."""
    height, width = images.shape[-2:]
    angle = -parameter.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    return _affine(images, (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y))


def shear_x(images: Tensor, parameter: Tensor) -> Tensor:
    """Move each row by the parameter times its height."""
    zero, one = torch.zeros_like(parameter), torch.ones_like(parameter)
    return _affine(images, (one, parameter, zero, zero, one, zero))


def shear_y(images: Tensor, parameter: Tensor) -> Tensor:
    """Move each column by the parameter times its position."""
    zero, one = torch.zeros_like(parameter), torch.ones_like(parameter)
    return _affine(images, (one, zero, zero, parameter, one, zero))


def translate_x(images: Tensor, parameter: Tensor) -> Tensor:
    """Move sideways by a share of the width."""
    zero, one = torch.zeros_like(parameter), torch.ones_like(parameter)
    return _affine(images, (one, zero, parameter * images.shape[-1], zero, one, zero))


def translate_y(images: Tensor, parameter: Tensor) -> Tensor:
    """Move up or down by a share of the height."""
    zero, one = torch.zeros_like(parameter), torch.ones_like(parameter)
    return _affine(images, (one, zero, zero, zero, one, parameter * images.shape[-2]))


def _per_image(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """(B, 1, H, W) uint8 luma."""
    weights = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
    luma = (images.to(torch.int32) * weights).sum(dim=1, keepdim=True)
    return ((luma + (1 << 15)) >> 16).to(torch.uint8)


def _blend(degenerate: Tensor, images: Tensor, share: Tensor) -> Tensor:
    """Degenerate + share * (image - degenerate), cut to whole numbers as Pillow does."""
    start = degenerate.float()
    return (start + _per_image(share).float() * (images.float() - start)).to(torch.uint8)


def _affine(
    images: Tensor, matrix: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
) -> Tensor:
    """Nearest-neighbour affine transform with black outside, in Pillow's fixed point.

    The matrix (a, b, c, d, e, f), each (B,), maps an output pixel to its source:
    (a x + b y + c, d x + e y + f), taken at pixel centres.
    """
    height, width = images.shape[-2:]
    a, b, c, d, e, f = matrix
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    column = _source(a, b, c, x, y)
    row = _source(d, e, f, x, y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    index = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, index).view(images.shape)
    return moved * inside[:, None]


def _source(of_x: Tensor, of_y: Tensor, shift: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) source coordinates: 16 fractional bits, cut down."""
    start = _fixed(shift + 0.5 * of_x + 0.5 * of_y).view(-1, 1, 1)
    return (start + _fixed(of_x).view(-1, 1, 1) * x + _fixed(of_y).view(-1, 1, 1) * y) >> 16


def _fixed(value: Tensor) -> Tensor:
    return (value * 65536 + 0.5).floor().long()
