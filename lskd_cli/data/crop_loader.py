"""Loader of padded crops, made on the device that holds the images.

The order and all random numbers of an epoch derive from (data.seed, epoch) alone and are drawn on
the CPU at its start. A resumed run therefore needs no generator state, and all students of a joint
run get the same images on every device. Making a batch reads nothing from the device.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from lskd_cli.config import Data, View
from lskd_cli.data.augment.strong_augment import sample_strong_params, strong_augment
from lskd_cli.data.batch import (
    UNSHARDED,
    Batch,
    BatchSpec,
    CropParams,
    DataShard,
    Normalizer,
    ViewSpec,
)
from lskd_cli.data.loader_base import Loader, epoch_permutation
from lskd_cli.data.sets.in_memory import InMemoryImages
from lskd_cli.errors import RequestError
from lskd_cli.random_streams import crop_seed, strong_seed


class CropLoader(Loader):
    """Training batches of images in memory, of one step or several."""

    draws_whole_epochs = True

    def __init__(self, images: InMemoryImages, data: Data, shard: DataShard = UNSHARDED) -> None:
        """Use images on the device where batches are made.

        Args:
            images: the training images.
            data: batch size, padding, flip, mean, std and seed.
            shard: the part of every batch that this process gets.

        Raises:
            RequestError: the images have another size than ``data.image_size``, or they do not make
                batches.
        """
        super().__init__(len(images), data, shard)
        self.images = images
        self.size = images.images.shape[1]
        if self.size != data.image_size:
            raise RequestError(
                f"data.image_size: padded crops of {data.name} have {self.size} pixels, not "
                f"{data.image_size}; other sizes need data.augmentation"
            )
        self.normalize = Normalizer(data.mean, data.std, images.device)

    def _start_epoch(self, epoch: int, views: Collection[View], first_step: int) -> None:
        self.epoch_spec = self.draw_epoch(epoch, views)

    def _batch_spec(self, step: int, num_steps: int) -> BatchSpec:
        spec = self.epoch_spec.select(self.positions(step, num_steps))
        spec.weight = self.process_weight(len(spec.index), step)
        return spec

    def positions(self, step: int, num_steps: int) -> slice:
        """Positions in the epoch of the images of this process in some steps."""
        first = step * self.data.batch_size
        part = self.shard.batch_slice(self.count(step, step + num_steps))
        return slice(first + part.start, first + part.stop)

    def draw_epoch(self, epoch: int, views: Collection[View]) -> BatchSpec:
        """Order and random numbers of an epoch (counted from 1), on the device."""
        count = len(self.images)
        index = epoch_permutation(count, self.data, epoch)
        specs = {view: self._draw_view(epoch, view, count) for view in views}
        return BatchSpec(index, specs).map(lambda tensor: tensor.to(self.images.device))

    def _make_batch(self, spec: BatchSpec) -> Batch:
        views: dict[View, Tensor] = {}
        for view, params in spec.views.items():
            assert params.crop is not None
            images = self._crop(spec.index, params.crop)
            if params.strong is not None:
                images = strong_augment(images.contiguous(), params.strong)
            normalized = self.normalize(images)
            views[view] = normalized.contiguous(memory_format=torch.channels_last)
        return Batch(views, self.images.targets[spec.index], spec.index, spec.weight)

    def _draw_view(self, epoch: int, view: View, count: int) -> ViewSpec:
        seed = self.data.seed
        generator = torch.Generator().manual_seed(crop_seed(seed, epoch, view))
        offsets = torch.randint(0, 2 * self.data.padding + 1, (2, count), generator=generator)
        probability = 0.5 if self.data.flip else 0.0
        flip = torch.rand(count, generator=generator) < probability
        spec = ViewSpec(crop=CropParams(offsets[0], offsets[1], flip))
        if view == "strong":
            generator = torch.Generator().manual_seed(strong_seed(seed, epoch))
            spec.strong = sample_strong_params(count, generator)
        return spec

    def _crop(self, index: Tensor, crop: CropParams) -> Tensor:
        """(N, 3, S, S) uint8 crops of the images with a black border, some of them flipped."""
        last = self.size - 1
        offset = torch.arange(self.size, device=index.device)
        rows = (crop.top[:, None] + offset - self.data.padding)[:, :, None]
        flipped = torch.where(crop.flip[:, None], last - offset, offset)
        columns = (crop.left[:, None] + flipped - self.data.padding)[:, None, :]
        # The border is masked, because padded images would take 50 % more memory.
        inside = (rows >= 0) & (rows <= last) & (columns >= 0) & (columns <= last)
        pixels = self.images.images[
            index[:, None, None], rows.clamp(0, last), columns.clamp(0, last)
        ]
        return (pixels * inside[..., None]).permute(0, 3, 1, 2)
