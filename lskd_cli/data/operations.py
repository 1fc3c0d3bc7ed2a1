"""Image operations on a batch, each image with its own operation and parameter.

Pixels are those of Pillow, bit for bit. The host reads nothing: every image goes through a table of
its pixel values, an affine transform and a blend, of which at least two leave it as it is.
"""

import torch
from torch import Tensor

# Each with its parameter; those without one ignore it.
LOOK_UPS = (
    "AutoContrast",  # stretch each channel to 0..255
    "Brightness",  # share of the image in a blend with black
    "Contrast",  # ... with its mean grey
    "Equalize",  # flatten the histogram of each channel
    "Invert",
    "Posterize",  # bits that are kept, cut to a whole number
    "Solarize",  # values from here on are inverted
    "SolarizeAdd",  # what is added to values below 128
)
MOVES = (
    "Rotate",  # degrees, counter-clockwise about the centre
    "ShearX",  # shift of a row, in multiples of its height
    "ShearY",  # shift of a column, in multiples of its position
    "TranslateX",  # share of the width
    "TranslateY",  # share of the height
)
BLENDS = (
    "Color",  # share of the image in a blend with its greys
    "Sharpness",  # ... with its smoothed copy
)
OPERATIONS = ("Identity", *LOOK_UPS, *MOVES, *BLENDS)
CODES = {name: code for code, name in enumerate(OPERATIONS)}


def operate(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """One operation on each image.

    Args:
        images: (B, 3, H, W) uint8.
        operation: (B,) codes of operations.
        parameter: (B,) float64.

    Returns:
        (B, 3, H, W) uint8.
    """
    images = look_up(images, operation, parameter)
    images = _affine(images, affine_matrix(images, operation, parameter))
    return blend_with_itself(images, operation, parameter)


def look_up(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """``LOOK_UPS`` alone: by a table of 256 values for each channel of each image."""
    pixels = images.flatten(2)
    value = torch.arange(256, device=images.device).view(1, 1, 256)
    share = parameter.view(-1, 1, 1)
    # Clamped for images whose parameter is that of another operation.
    kept_in_steps_of = 1 << (8 - share.long().clamp(0, 8))
    mean = (_grey(images).double().mean(dim=(1, 2, 3)) + 0.5).to(torch.uint8).view(-1, 1, 1)
    tables = {
        "AutoContrast": _stretching(pixels, value),
        "Brightness": _blend(torch.zeros_like(mean), value, share),
        "Contrast": _blend(mean, value, share),
        "Equalize": _equalizing(pixels, value),
        "Invert": 255 - value,
        "Posterize": value - value % kept_in_steps_of,
        "Solarize": torch.where(value < share, value, 255 - value),
        "SolarizeAdd": torch.where(value < 128, (value + share.long()).clamp(0, 255), value),
    }
    table = value.expand(len(images), 3, 256)
    for name, other in tables.items():
        table = torch.where((operation == CODES[name]).view(-1, 1, 1), other, table)
    return table.to(torch.uint8).gather(2, pixels.long()).view(images.shape)


def _stretching(pixels: Tensor, value: Tensor) -> Tensor:
    low, high = (end.double() for end in pixels.aminmax(dim=2, keepdim=True))
    # A number over a tensor would be a product with its reciprocal: rounded twice. A constant
    # channel gives infinity here, and stays as it is.
    scale = torch.full_like(low, 255) / (high - low)
    stretched = (value * scale - low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, value.double()).long()


def _equalizing(pixels: Tensor, value: Tensor) -> Tensor:
    count = torch.zeros(*pixels.shape[:2], 256, dtype=torch.int64, device=pixels.device)
    count.scatter_add_(2, pixels.long(), torch.ones_like(pixels, dtype=torch.int64))
    below = count.cumsum(dim=2) - count
    of_highest = count.gather(2, pixels.amax(dim=2, keepdim=True).long())
    step = (pixels.shape[2] - of_highest) // 255
    equalized = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, equalized, value)


def affine_matrix(images: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
    """The (6, B) matrix of ``MOVES``; that of other operations leaves pixels where they are.

    Its (a, b, c, d, e, f) map an output pixel to its source: (a x + b y + c, d x + e y + f), taken
    at pixel centres.
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
        matrix = torch.where(operation == CODES[name], torch.stack(other), matrix)
    return matrix


def blend_with_itself(images: Tensor, operation: Tensor, share: Tensor) -> Tensor:
    """``BLENDS`` alone: of an image with a poorer copy of itself."""
    is_color = operation == CODES["Color"]
    is_blended = is_color | (operation == CODES["Sharpness"])
    poorer = torch.where(_per_image(is_color), _grey(images), _smooth(images))
    # A share of 1 gives the image itself, exactly.
    return _blend(poorer, images, _per_image(torch.where(is_blended, share, 1.0))).to(torch.uint8)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """(B, 1, H, W) uint8 luma: Rec. 601 in 16-bit fixed point, as Pillow's "L" has it."""
    red, green, blue = images.to(torch.int32).unbind(dim=1)
    luma: Tensor = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    return luma.to(torch.uint8)[:, None]


def _smooth(images: Tensor) -> Tensor:
    """3x3 mean with the centre counted five times, rounded; the border stays."""
    wide = images.to(torch.int32)
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = sums + 4 * wide[..., 1:-1, 1:-1]
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = ((2 * inner + 13) // 26).to(torch.uint8)
    return smooth


def _blend(poorer: Tensor, values: Tensor, share: Tensor) -> Tensor:
    """Poorer + share * (values - poorer) in float32, cut to whole numbers as Pillow does."""
    start = poorer.float()
    return (start + share.float() * (values.float() - start)).clamp(0, 255).long()


def _affine(images: Tensor, matrix: Tensor) -> Tensor:
    """Nearest-neighbour affine transform with black outside, in Pillow's fixed point."""
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
    """(B, H, W) source coordinates of a (3, B) row of the matrix: 16 fractional bits, cut down."""
    of_x, of_y, shift = matrix
    start = _fixed(shift + 0.5 * of_x + 0.5 * of_y)
    return (start + _fixed(of_x) * x + _fixed(of_y) * y) >> 16


def _fixed(value: Tensor) -> Tensor:
    """(B,) numbers as (B, 1, 1) multiples of 1 / 65536."""
    return (value * 65536 + 0.5).floor().long().view(-1, 1, 1)
