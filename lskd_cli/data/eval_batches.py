"""Batches of test images for evaluation: the whole image, or the center of a larger one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from lskd_cli.config import Data
from lskd_cli.data.batch import UNSHARDED, DataShard, Normalizer, TensorSpec
from lskd_cli.data.datasets import Images
from lskd_cli.data.image_folder import ImageFolderImages
from lskd_cli.data.prefetch import prefetch
from lskd_cli.data.worker_loader import ignore_signals

_BATCH_SIZE = 250


def eval_batches(
    images: Images, data: Data, size: int, shard: DataShard = UNSHARDED
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the images of one process, each image once and in order.

    Images are resized bilinearly, whatever the augmentation in training is: the published rows were
    evaluated this way.

    Args:
        images: a test or validation set.
        data: its mean and std, and the fraction of an image in a file that the crop covers.
        size: input size of the network in pixels.
        shard: the images of this process.

    Yields:
        (B, 3, S, S) float32 normalized images and (B,) class indices, on the images' device.
    """
    normalize = Normalizer(data, images.device)
    for pixels, target in _pixel_batches(images, data, size, shard):
        yield normalize(pixels), target


@dataclass
class _PixelBatch(TensorSpec):
    pixels: Tensor
    target: Tensor


def _pixel_batches(
    images: Images, data: Data, size: int, shard: DataShard
) -> Iterator[tuple[Tensor, Tensor]]:
    selected = shard.slice(len(images))
    if isinstance(images, ImageFolderImages):
        loader = DataLoader(
            _CenterCrops(images, round(size / data.test_crop), size),
            _BATCH_SIZE,
            sampler=range(selected.start, selected.stop),
            num_workers=shard.num_workers,
            collate_fn=_collate,
            pin_memory=images.device.type == "cuda",
            worker_init_fn=ignore_signals,
            generator=torch.Generator(),
        )
        for batch in prefetch(loader, images.device):
            yield batch.pixels, batch.target
        return
    for start in range(selected.start, selected.stop, _BATCH_SIZE):
        end = min(start + _BATCH_SIZE, selected.stop)
        pixels = images.images[start:end].permute(0, 3, 1, 2)
        if list(pixels.shape[2:]) != [size, size]:
            pixels = resize(pixels, [size, size], interpolation=InterpolationMode.BILINEAR)
        yield pixels, images.targets[start:end]


def _collate(images: list[_PixelBatch]) -> _PixelBatch:
    return _PixelBatch(
        torch.stack([image.pixels for image in images]),
        torch.stack([image.target for image in images]),
    )


class _CenterCrops(Dataset[_PixelBatch]):
    """Center crops of images whose shorter side is resized to a given size."""

    def __init__(self, images: ImageFolderImages, shorter_side: int, size: int) -> None:
        self.images = images
        self.shorter_side = shorter_side
        self.size = size

    def __getitem__(self, index: int) -> _PixelBatch:
        pixels = resize(self.images.load_image(index), [self.shorter_side])
        crop = center_crop(pixels, [self.size, self.size])
        return _PixelBatch(crop, self.images.targets[index])
