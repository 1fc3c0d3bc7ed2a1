"""Padded crops, cut on the device that holds the images.

What an epoch looks like derives from (data.seed, epoch) alone: the order and all random numbers
are drawn on the CPU at its start. A resumed run needs no generator state, and all arms of a
pass see the same images on every device. Cutting reads nothing back from the device.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from lskd_cli.config import CROP_SIZE, Data
from lskd_cli.data.batch import (
    ALONE,
    STRONG_STREAM,
    VIEW_STREAMS,
    Batch,
    Draws,
    Loader,
    Normalizer,
    Share,
    epoch_order,
    named,
    rows,
    seed_of,
    unnamed,
)
from lskd_cli.data.datasets import ImageSet
from lskd_cli.data.strong import draw_strong, strengthen
from lskd_cli.view import View


class CropLoader(Loader):
    """Training batches of an image set, of one step or several."""

    at_once = True

    def __init__(self, images: ImageSet, data: Data, share: Share = ALONE) -> None:
        """Take the training images, on the device where the batches are wanted.

        Args:
            images: the training images.
            data: batch size, padding, flip, mean and std; its seed is that of order and views.
            share: what this process takes of every batch.

        Raises:
            RequestError: the images do not make batches.
        """
        super().__init__(len(images), data, share)
        self.images = images
        self.normalize = Normalizer(data, images.device)

    def epoch(self, epoch: int, views: Collection[View], start: int) -> Callable[[int, int], Draws]:
        """Draws of the steps of an epoch (from 1), any of them."""
        draws = self.draws(epoch, views)

        def of_steps(first: int, steps: int) -> Draws:
            batch = rows(draws, self.part(first, steps))
            return rows(batch, self.share.rows(len(batch["index"])))

        return of_steps

    def draws(self, epoch: int, views: Collection[View]) -> Draws:
        """Order and random numbers of an epoch (from 1), on the device."""
        count = len(self.images)
        draws = {"index": epoch_order(count, self.data, epoch)}
        for view in views:
            generator = self._generator(epoch, VIEW_STREAMS[view])
            draws |= named(view, self._draw_crops(count, generator))
        if "strong" in views:
            draws |= named("strong", draw_strong(count, self._generator(epoch, STRONG_STREAM)))
        return {name: values.to(self.images.device) for name, values in draws.items()}

    def cut(self, draws: Mapping[str, Tensor]) -> Batch:
        """The views of the images that the draws name, of all or part of an epoch."""
        index = draws["index"]
        views: dict[View, Tensor] = {}
        for view in VIEW_STREAMS:
            if f"{view}.top" in draws:
                of_view = unnamed(view, draws)
                images = self._crop(index, of_view)
                if view == "strong":
                    images = strengthen(images.contiguous(), of_view)
                normal = self.normalize(images)
                views[view] = normal.contiguous(memory_format=torch.channels_last)
        return Batch(views, self.images.targets[index], index)

    def part(self, start: int, steps: int) -> slice:
        """Where the images of ``steps`` steps from ``start`` (from 0) on are in an epoch."""
        first = start * self.data.batch_size
        return slice(first, first + self.count(start, start + steps))

    def _draw_crops(self, count: int, generator: torch.Generator) -> Draws:
        offsets = torch.randint(0, 2 * self.data.padding + 1, (2, count), generator=generator)
        share = 0.5 if self.data.flip else 0.0
        flip = torch.rand(count, generator=generator) < share
        return {"top": offsets[0], "left": offsets[1], "flip": flip}

    def _crop(self, index: Tensor, crops: Mapping[str, Tensor]) -> Tensor:
        """(N, 3, 32, 32) uint8 crops of the images with a black border, some of them mirrored."""
        offset = torch.arange(CROP_SIZE, device=index.device)
        rows = (crops["top"][:, None] + offset - self.data.padding)[:, :, None]
        mirrored = torch.where(crops["flip"][:, None], CROP_SIZE - 1 - offset, offset)
        columns = (crops["left"][:, None] + mirrored - self.data.padding)[:, None, :]
        # The border is masked instead of stored: padded images would take half as much again.
        inside = (rows >= 0) & (rows < CROP_SIZE) & (columns >= 0) & (columns < CROP_SIZE)
        last = CROP_SIZE - 1
        pixels = self.images.images[
            index[:, None, None], rows.clamp(0, last), columns.clamp(0, last)
        ]
        return (pixels * inside[..., None]).permute(0, 3, 1, 2)

    def _generator(self, epoch: int, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.data.seed, epoch, stream))
