"""Test images as networks see them: whole, or the centre of larger ones."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from lskd_cli.config import Data
from lskd_cli.data.ahead import sent_ahead
from lskd_cli.data.batch import ALONE, Normalizer, Share
from lskd_cli.data.datasets import Images
from lskd_cli.data.folder import FolderSet
from lskd_cli.data.workers import leave_signals

_BATCH = 250


def whole_images(
    images: Images, data: Data, size: int, share: Share = ALONE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the images that a process has to look at, each once, in order.

    Resized bilinearly, whatever training does: the published rows were measured so.

    Args:
        images: of a test or validation set.
        data: its mean and deviation, and the share of an image in a file that is looked at.
        size: pixels on each side that a network is made for.
        share: the images of this process, among several.

    Yields:
        (B, 3, S, S) float32 normalized, and (B,) classes, on the images' device.
    """
    normalize = Normalizer(data, images.device)
    for pixels, target in _pixels(images, data, size, share):
        yield normalize(pixels), target


def _pixels(images: Images, data: Data, size: int, share: Share) -> Iterator[tuple[Tensor, Tensor]]:
    part = share.rows(len(images))
    if isinstance(images, FolderSet):
        loader = DataLoader(
            _Centres(images, round(size / data.test_crop), size),
            _BATCH,
            sampler=range(part.start, part.stop),
            num_workers=share.workers,
            pin_memory=images.device.type == "cuda",
            worker_init_fn=leave_signals,
            generator=torch.Generator(),
        )
        for batch in sent_ahead(loader, images.device):
            yield batch["pixels"], batch["target"]
        return
    for start in range(part.start, part.stop, _BATCH):
        batch_part = slice(start, min(start + _BATCH, part.stop))
        of_images, target = images.images[batch_part], images.targets[batch_part]
        pixels = of_images.permute(0, 3, 1, 2)
        if list(pixels.shape[2:]) != [size, size]:
            pixels = resize(pixels, [size, size], interpolation=InterpolationMode.BILINEAR)
        yield pixels, target


class _Centres(Dataset[dict[str, Tensor]]):
    """The centre of images whose shorter side is brought to a size."""

    def __init__(self, images: FolderSet, shorter: int, size: int) -> None:
        self.images = images
        self.shorter = shorter
        self.size = size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pixels = resize(self.images.pixels(index), [self.shorter])
        return {
            "pixels": center_crop(pixels, [self.size, self.size]),
            "target": self.images.targets[index],
        }
