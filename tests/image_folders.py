"""Folders of small JPEG images whose classes can be learned."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 20


def make_folder(
    root: Path,
    train: int = 12,
    val: int = 4,
    classes: int = CLASSES,
    size: tuple[int, int] = (64, 48),
    quality: int = 85,
) -> Path:
    """``train/classNN/*.jpeg`` and ``val/classNN/*.jpeg``: stripes of a direction and a colour.

    Args:
        root: is made where it is not there.
        train: images of each class to train on.
        val: to test on.
        classes: their number.
        size: width and height in pixels.
        quality: of the JPEG files.
    """
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    for part, count in (("train", train), ("val", val)):
        for number in range(classes):
            folder = root / part / f"class{number:02}"
            folder.mkdir(parents=True)
            angle = np.pi * number / classes
            colour = 0.5 + 0.5 * np.cos(2 * np.pi * (number / classes + np.arange(3) / 3))
            for image in range(count):
                phase = random.uniform(0, 2 * np.pi)
                wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / 3 + phase)
                pixels = 128 + 80 * wave[..., None] * colour + random.normal(0, 25, (*x.shape, 3))
                picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                picture.save(folder / f"{image}.jpeg", quality=quality)
    return root
