"""Image operations on a batch, with an operation and a parameter for each image.

The results equal Pillow's bit for bit. Nothing is read from the device: every image passes through
a lookup table, an affine transform and a blend, at least two of which leave it unchanged.
"""

import torch
from torch import Tensor

# Operations with the meaning of their parameter, if they have one.
LOOKUP_OPS = (
    "AutoContrast",  # stretch each channel to 0..255
    "Brightness",  # weight of the image in a blend with black
    "Contrast",  # weight of the image in a blend with its mean gray
    "Equalize",  # flatten the histogram of each channel
    "Posterize",  # number of bits that are kept, rounded down
    "Solarize",  # threshold from which values are inverted
)
AFFINE_OPS = (
    "Rotate",  # degrees, counter-clockwise around the center
    "ShearX",  # shift of a row per pixel of its vertical position
    "ShearY",  # shift of a column per pixel of its horizontal position
    "TranslateX",  # fraction of the width
    "TranslateY",  # fraction of the height
)
BLEND_OPS = (
    "Color",  # weight of the image in a blend with its grayscale version
    "Sharpness",  # weight of the image in a blend with its smoothed version
)
OPERATIONS = ("Identity", *LOOKUP_OPS, *AFFINE_OPS, *BLEND_OPS)
OP_CODES = {name: code for code, name in enumerate(OPERATIONS)}


def apply_ops(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """Apply one operation to each image.

    Args:
        images: (B, 3, H, W) uint8.
        operation: (B,) codes of ``OP_CODES``.
        parameter: (B,) float64.

    Returns:
        (B, 3, H, W) uint8.
    """
    images = lookup_ops(images, operation, parameter)
    images = _affine(images, affine_matrix(images, operation, parameter))
    return blend_ops(images, operation, parameter)


def lookup_ops(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """Apply ``LOOKUP_OPS`` with a table of 256 values for each channel of each image.

    The arguments and the result are those of ``apply_ops``; other operations change nothing.
    """
    pixels = images.flatten(2)
    value = torch.arange(256, device=images.device).view(1, 1, 256)
    amount = parameter.view(-1, 1, 1)
    # Clamped for images whose parameter belongs to another operation.
    posterize_step = 1 << (8 - amount.long().clamp(0, 8))
    mean = (_gray(images).double().mean(dim=(1, 2, 3)) + 0.5).to(torch.uint8).view(-1, 1, 1)
    tables = {
        "AutoContrast": _autocontrast_table(pixels, value),
        "Brightness": _blend(torch.zeros_like(mean), value, amount),
        "Contrast": _blend(mean, value, amount),
        "Equalize": _equalize_table(pixels, value),
        "Posterize": value - value % posterize_step,
        "Solarize": torch.where(value < amount, value, 255 - value),
    }
    table = value.expand(len(images), 3, 256)
    for name, other in tables.items():
        table = torch.where((operation == OP_CODES[name]).view(-1, 1, 1), other, table)
    return table.to(torch.uint8).gather(2, pixels.long()).view(images.shape)


def _autocontrast_table(pixels: Tensor, value: Tensor) -> Tensor:
    low, high = (end.double() for end in pixels.aminmax(dim=2, keepdim=True))
    # 255 / tensor would multiply by the reciprocal, which rounds twice. A constant channel gives
    # infinity here and is left unchanged.
    scale = torch.full_like(low, 255) / (high - low)
    stretched = (value * scale - low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, value.double()).long()


def _equalize_table(pixels: Tensor, value: Tensor) -> Tensor:
    count = torch.zeros(*pixels.shape[:2], 256, dtype=torch.int64, device=pixels.device)
    count.scatter_add_(2, pixels.long(), torch.ones_like(pixels, dtype=torch.int64))
    below = count.cumsum(dim=2) - count
    highest_count = count.gather(2, pixels.amax(dim=2, keepdim=True).long())
    step = (pixels.shape[2] - highest_count) // 255
    equalized = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, equalized, value)


def affine_matrix(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """The (6, B) matrices of ``AFFINE_OPS``; other operations have the identity.

    The entries (a, b, c, d, e, f) map an output pixel to its source,
    (a x + b y + c, d x + e y + f), at pixel centers.
    """
    height, width = images.shape[-2:]
    zero, one = torch.zeros_like(parameter), torch.ones_like(parameter)
    angle = -parameter.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    matrices = {
        "Rotate": (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y),
        "ShearX": (one, parameter, zero, zero, one, zero),
        "ShearY": (one, zero, zero, parameter, one, zero),
        "TranslateX": (one, zero, parameter * width, zero, one, zero),
        "TranslateY": (one, zero, zero, zero, one, parameter * height),
    }
    matrix = torch.stack([one, zero, zero, zero, one, zero])
    for name, other in matrices.items():
        matrix = torch.where(operation == OP_CODES[name], torch.stack(other), matrix)
    return matrix


def blend_ops(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """Apply ``BLEND_OPS``: blend an image with its grayscale or smoothed version.

    The arguments and the result are those of ``apply_ops``; other operations change nothing.
    """
    is_color = operation == OP_CODES["Color"]
    is_blended = is_color | (operation == OP_CODES["Sharpness"])
    degenerate = torch.where(_per_image(is_color), _gray(images), _smooth(images))
    # A weight of 1 returns the image itself, exactly.
    weight = _per_image(torch.where(is_blended, parameter, 1.0))
    return _blend(degenerate, images, weight).to(torch.uint8)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _gray(images: Tensor) -> Tensor:
    """(B, 1, H, W) uint8 luma: Rec. 601 in 16-bit fixed point, like Pillow's mode "L"."""
    red, green, blue = images.to(torch.int32).unbind(dim=1)
    luma: Tensor = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    return luma.to(torch.uint8)[:, None]


def _smooth(images: Tensor) -> Tensor:
    """3x3 mean with weight 5 for the center, rounded; the border is unchanged."""
    wide = images.to(torch.int32)
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = sums + 4 * wide[..., 1:-1, 1:-1]
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = ((2 * inner + 13) // 26).to(torch.uint8)
    return smooth


def _blend(degenerate: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Degenerate + weight * (values - degenerate) in float32, truncated like Pillow's blend."""
    start = degenerate.float()
    return (start + weight.float() * (values.float() - start)).clamp(0, 255).long()


def _affine(images: Tensor, matrix: Tensor) -> Tensor:
    """Nearest-neighbor affine transform with black outside, in Pillow's fixed-point arithmetic."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    column, row = _source(matrix[:3], x, y), _source(matrix[3:], x, y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    index = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, index).view(images.shape)
    return moved * inside[:, None]


def _source(matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) source coordinates for a (3, B) row of the matrix, rounded down."""
    x_factor, y_factor, shift = matrix
    start = _fixed_point(shift + 0.5 * x_factor + 0.5 * y_factor)
    return (start + _fixed_point(x_factor) * x + _fixed_point(y_factor) * y) >> 16


def _fixed_point(value: Tensor) -> Tensor:
    """(B,) numbers as (B, 1, 1) integers with 16 fractional bits."""
    return (value * 65536 + 0.5).floor().long().view(-1, 1, 1)
