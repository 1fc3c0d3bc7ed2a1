"""Batches of test images for evaluation: the whole image, or the center of a larger one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from lskd_cli.data.batch import UNSHARDED, DataShard, Normalizer, TensorSpec
from lskd_cli.data.prefetch import prefetch
from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.splits import Images
from lskd_cli.data.worker_processes import end_workers_at_exit, ignore_signals
from lskd_cli.preprocessing import Preprocessing

BATCH_SIZE = 250


def eval_batches(
    images: Images, preprocessing: Preprocessing, shard: DataShard = UNSHARDED
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the images of one process, each image once and in order.

    Args:
        images: a test or validation set.
        preprocessing: preprocessing of the network.
        shard: the images of this process.

    Yields:
        (B, 3, S, S) float32 normalized images and (B,) class indices, on the images' device.
    """
    normalize = Normalizer(*preprocessing.normalization, images.device)
    for pixels, target in _pixel_batches(images, preprocessing, shard):
        yield normalize(pixels), target


def center_view(image: Any, preprocessing: Preprocessing) -> Any:
    """The center of a resized image, as torchvision and timm prepare test images.

    Args:
        image: a Pillow image, or (..., H, W) uint8 pixels.
        preprocessing: size, interpolation and crop.

    Returns:
        The same type, S pixels high and wide.
    """
    side = preprocessing.resized_side
    size = [side, side] if preprocessing.squash else [side]
    interpolation = InterpolationMode(preprocessing.interpolation)
    resized = resize(image, size, interpolation=interpolation)
    return center_crop(resized, [preprocessing.image_size, preprocessing.image_size])


@dataclass
class _PixelBatch(TensorSpec):
    pixels: Tensor
    target: Tensor


def _pixel_batches(
    images: Images, preprocessing: Preprocessing, shard: DataShard
) -> Iterator[tuple[Tensor, Tensor]]:
    selected = shard.slice(len(images))
    if isinstance(images, FileImages):
        end_workers_at_exit()
        loader = DataLoader(
            _CenterCrops(images, preprocessing),
            BATCH_SIZE,
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
    for start in range(selected.start, selected.stop, BATCH_SIZE):
        end = min(start + BATCH_SIZE, selected.stop)
        pixels = images.images[start:end].permute(0, 3, 1, 2)
        yield center_view(pixels, preprocessing), images.targets[start:end]


def _collate(images: list[_PixelBatch]) -> _PixelBatch:
    return _PixelBatch(
        torch.stack([image.pixels for image in images]),
        torch.stack([image.target for image in images]),
    )


class _CenterCrops(Dataset[_PixelBatch]):
    """The centers of images in files."""

    def __init__(self, images: FileImages, preprocessing: Preprocessing) -> None:
        self.images = images
        self.preprocessing = preprocessing

    def __getitem__(self, index: int) -> _PixelBatch:
        view = center_view(self.images.open_image(index), self.preprocessing)
        return _PixelBatch(pil_to_tensor(view), self.images.targets[index])
