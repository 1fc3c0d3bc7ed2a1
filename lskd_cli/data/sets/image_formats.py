"""What counts as an image, and how its pixels become RGB: the same in all readers and commands."""

from collections import Counter
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

# Pillow's formats of single images. Others start an external program (PostScript), are drawings of
# no size (WMF), or documents.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "SGI",
    "TGA", "TIFF", "WEBP", "XBM", "XPM",
)  # fmt: skip
SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe",
    ".jpeg", ".jpg", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".sgi", ".tga", ".tif",
    ".tiff", ".webp", ".xbm", ".xpm",
)  # fmt: skip
_SYSTEM_FOLDERS = ("__MACOSX",)  # of archives that macOS writes
_MAX_16_BITS = 65535
_MAX_ENDINGS = 5  # that a message names


def is_hidden(path: str) -> bool:
    """Whether a relative path is hidden or belongs to the system: such files are never data."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in parts)


class ImageFilter:
    """Selects the names of images, and counts other files by their ending.

    Attributes:
        skipped: number of files of each ending that no image has; hidden files are not counted.
    """

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()

    def __call__(self, path: str) -> bool:
        """Whether a relative path names an image: by its ending, and not hidden."""
        if is_hidden(path):
            return False
        if path.lower().endswith(SUFFIXES):
            return True
        self.skipped[PurePosixPath(path).suffix.lower() or "no ending"] += 1
        return False

    def describe(self) -> list[str]:
        """A line about the files that are no images; none if there are none."""
        if not self.skipped:
            return []
        common = self.skipped.most_common(_MAX_ENDINGS)
        endings = ", ".join(f"{count} with {ending}" for ending, count in common)
        more = ", ..." if len(self.skipped) > len(common) else ""
        return [f"files that are left out because they are no images: {endings}{more}"]


def open_image(file: IO[bytes] | Path) -> Image.Image:
    """Open an image of one of ``FORMATS``, whatever its name is.

    Raises:
        OSError: it has another format, or cannot be read.
    """
    return Image.open(file, formats=_known_formats())


@cache
def _known_formats() -> list[str]:
    Image.init()  # older versions of Pillow lack some
    return [name for name in FORMATS if name in Image.OPEN]


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as 8-bit RGB. Gray images of 16 bits are scaled to 8.

    Pillow's own conversion would clip them, so that nearly all pixels become white.

    Raises:
        ValueError: the pixels are floating-point numbers, or integers of more than 16 bits.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.size and not 0 <= pixels.min() <= pixels.max() <= _MAX_16_BITS:
            raise ValueError("its pixels have more than 16 bits; save it with 8 or 16 bits")
        image = Image.fromarray(np.round(pixels / 257).astype(np.uint8))
    return image.convert("RGB")
