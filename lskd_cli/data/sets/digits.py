"""The handwritten digits of scikit-learn."""

from pathlib import Path

import torch
import torch.nn.functional as F

from lskd_cli.config import DEFAULT_IMAGE_SIZE, Data
from lskd_cli.data.sets.in_memory import InMemoryImages
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.data.sets.stratified import stratified_split
from lskd_cli.io.download import Progress

_TEST_FRACTION = 0.2


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """1797 gray images of 8x8 pixels (0 to 16), resized bilinearly; 20 % of each class is test.

    Padded crops need images of ``data.image_size``; other augmentation enlarges them itself.
    """
    from sklearn.datasets import load_digits

    gray, labels = load_digits(return_X_y=True)
    size = data.image_size if data.augmentation is None else DEFAULT_IMAGE_SIZE
    small = torch.from_numpy(gray).float().reshape(-1, 1, 8, 8) * (255 / 16)
    large = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
    names = tuple(str(digit) for digit in range(10))
    digits = InMemoryImages(images, torch.from_numpy(labels).long(), names)
    return DataSplits(*stratified_split(digits, _TEST_FRACTION, "digits"))
