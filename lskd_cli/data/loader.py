"""Batches of views, cut on the device that holds the images.

What an epoch looks like derives from (seed, epoch) alone: the order and every random number are
drawn on the CPU at its start. A resumed run therefore needs no generator state, and all arms of a
pass see the same images on every device.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lskd_cli.config import Data
from lskd_cli.data.datasets import ImageSet
from lskd_cli.data.strong import StrongDraws
from lskd_cli.view import View

_SIZE = 32
# Independent random numbers of an epoch. The released code cuts the two views of an image apart.
_ORDER_STREAM, _STRONG_STREAM = 0, 3
_CROP_STREAMS: dict[View, int] = {"weak": 1, "strong": 2}


@dataclass
class Batch:
    """Views of a batch, each (B, 3, 32, 32) float32 normalized, channels last; targets (B,)."""

    views: dict[View, Tensor]
    target: Tensor


@dataclass
class CropDraws:
    """Where each image of an epoch is cut, by position in the epoch's order."""

    top: Tensor
    left: Tensor
    flip: Tensor

    @staticmethod
    def draw(count: int, padding: int, flip: bool, generator: torch.Generator) -> "CropDraws":
        offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
        mirrored = torch.rand(count, generator=generator) < (0.5 if flip else 0.0)
        return CropDraws(offsets[0], offsets[1], mirrored)

    def to(self, device: torch.device) -> "CropDraws":
        return CropDraws(self.top.to(device), self.left.to(device), self.flip.to(device))


class Loader:
    """Training batches of an image set."""

    def __init__(self, images: ImageSet, data: Data, seed: int) -> None:
        """Take the training images, on the device where the batches are wanted.

        Args:
            images: the training images.
            data: batch size, padding, flip, mean and std.
            seed: of order and augmentation, together with the epoch.
        """
        self.images = images
        self.data = data
        self.seed = seed
        self.normalize = Normalizer(data, images.targets.device)
        self.steps = -(-len(images) // data.batch_size)  # the last partial batch is kept

    def epoch(self, epoch: int, views: Collection[View], start: int = 0) -> Iterator[Batch]:
        """Batches of an epoch (from 1), from step ``start`` (from 0) on."""
        count, device = len(self.images), self.images.targets.device
        order = torch.randperm(count, generator=self._generator(epoch, _ORDER_STREAM)).to(device)
        padding, flip = self.data.padding, self.data.flip
        crops = {
            view: CropDraws.draw(
                count, padding, flip, self._generator(epoch, _CROP_STREAMS[view])
            ).to(device)
            for view in views
        }
        strong = (
            StrongDraws.draw(count, self._generator(epoch, _STRONG_STREAM))
            if "strong" in views
            else None
        )
        for step in range(start, self.steps):
            part = slice(step * self.data.batch_size, (step + 1) * self.data.batch_size)
            index = order[part]
            batch = {}
            for view, crop in crops.items():
                images = self._cut(index, crop, part)
                if view == "strong" and strong is not None:
                    images = strong.apply(images, part)
                batch[view] = self.normalize(images)
            yield Batch(batch, self.images.targets[index])

    def _cut(self, index: Tensor, crops: CropDraws, part: slice) -> Tensor:
        """(B, 3, 32, 32) uint8 crops of the images with a black border, some of them mirrored."""
        top, left, flip = crops.top[part], crops.left[part], crops.flip[part]
        offset = torch.arange(_SIZE, device=index.device)
        rows = (top[:, None] + offset - self.data.padding)[:, :, None]
        mirrored = torch.where(flip[:, None], _SIZE - 1 - offset, offset)
        columns = (left[:, None] + mirrored - self.data.padding)[:, None, :]
        # The border is masked instead of stored: padded images would take half as much again.
        inside = (rows >= 0) & (rows < _SIZE) & (columns >= 0) & (columns < _SIZE)
        last = _SIZE - 1
        pixels = self.images.images[
            index[:, None, None], rows.clamp(0, last), columns.clamp(0, last)
        ]
        return (pixels * inside[..., None]).permute(0, 3, 1, 2)

    def _generator(self, epoch: int, stream: int) -> torch.Generator:
        entropy = np.random.SeedSequence([self.seed, epoch, stream])
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


class Normalizer:
    """(B, 3, 32, 32) uint8 to float32, with the mean and deviation of the data."""

    def __init__(self, data: Data, device: torch.device) -> None:
        # Made once: a copy to the device for every batch would hold it up.
        self.mean = torch.tensor(data.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)
