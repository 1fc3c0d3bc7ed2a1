"""Batches, what they are made from, and what every loader does."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import joblib
import numpy as np
import torch
from torch import Tensor

from lskd_cli.config import Data
from lskd_cli.errors import RequestError
from lskd_cli.view import View

# What decides how some images are seen, by name, (N, ...) each: "index" into the training images,
# "weak.top", "weak.left", "weak.flip" of a crop, and so on; or the finished views themselves.
Draws = dict[str, Tensor]

# Independent random numbers of an epoch. The released code cuts the two views of an image apart.
ORDER_STREAM, STRONG_STREAM, IMAGE_STREAM = 0, 3, 4
VIEW_STREAMS: dict[View, int] = {"weak": 1, "strong": 2}
_MOST_WORKERS = 16


def worker_count(processes: int = 1) -> int:
    """Workers that each of some processes on this machine may have: its cores, no more than 16.

    Each holds two batches ready: of 512 images, 150 MB.
    """
    cores: int = joblib.cpu_count()
    return max(1, min(cores // processes, _MOST_WORKERS))


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every batch; alone, everything.

    Attributes:
        rank: of the process, from 0.
        of: number of processes.
        workers: processes that it may let make batches.
    """

    rank: int = 0
    of: int = 1
    workers: int = field(default_factory=worker_count)

    def rows(self, count: int) -> slice:
        """Its places among so many images: at most one more or less than any other's."""
        return slice(count * self.rank // self.of, count * (self.rank + 1) // self.of)

    def size(self, count: int) -> int:
        """How many of so many images it takes."""
        rows = self.rows(count)
        return int(rows.stop - rows.start)


ALONE = Share()


@dataclass
class Batch:
    """Some images.

    Attributes:
        views: each (N, 3, S, S) float32 normalized, channels last.
        target: (N,) classes.
        index: (N,) places among the training images.
    """

    views: dict[View, Tensor]
    target: Tensor
    index: Tensor

    def part(self, rows: slice) -> "Batch":
        """The same of some of the images."""
        views = {view: images[rows] for view, images in self.views.items()}
        return Batch(views, self.target[rows], self.index[rows])


class Loader:
    """Training batches of some images, the same ones whenever an epoch is asked for.

    Attributes:
        data: what the batches are made like.
        total: images of an epoch, over all processes.
        at_once: whether one call can give the images of several steps.
        share: what this process takes of every batch.
    """

    at_once: ClassVar[bool] = False

    def __init__(self, images: int, data: Data, share: Share) -> None:
        """Take the number of training images.

        Raises:
            RequestError: they do not make batches, or those do not divide among the processes.
        """
        self.data = data
        self.share = share
        self.total = images_of(images, data, share)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-self.total // self.data.batch_size)

    def count(self, first: int, end: int) -> int:
        """Images of the steps from ``first`` up to ``end``, over all processes."""
        size = self.data.batch_size
        return min(end * size, self.total) - first * size

    def weight(self, own: int, step: int) -> float:
        """What the mean over this process's images counts in the mean of all processes' means.

        It is 1 unless processes have different numbers of images, at the end of an epoch.

        Args:
            own: images of this process in a step.
            step: from 0.
        """
        alone = self.share.of == 1
        return 1.0 if alone else own * self.share.of / self.count(step, step + 1)

    def epoch(self, epoch: int, views: Collection[View], start: int) -> Callable[[int, int], Draws]:
        """What the steps of an epoch (from 1) are made from, from step ``start`` (from 0) on.

        Returns:
            Of a first step and a number of steps; to be asked in order, without gaps. Several
            processes ask for one step at a time.
        """
        raise TypeError(f"{type(self).__name__} does not define its epochs")

    def cut(self, draws: Mapping[str, Tensor]) -> Batch:
        """The batch that such draws make, on the device alone."""
        raise TypeError(f"{type(self).__name__} does not define its batches")


class Normalizer:
    """(B, 3, S, S) uint8 to float32, with the mean and deviation of the data."""

    def __init__(self, data: Data, device: torch.device) -> None:
        # Made once: a copy to the device for every batch would hold it up.
        self.mean = torch.tensor(data.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)


def rows(draws: Mapping[str, Tensor], part: slice | Tensor) -> Draws:
    """The draws of some of the images."""
    return {name: values[part] for name, values in draws.items()}


def named(view: View, draws: Mapping[str, Tensor]) -> Draws:
    """Draws of one view, under names that tell which."""
    return {f"{view}.{name}": values for name, values in draws.items()}


def unnamed(view: View, draws: Mapping[str, Tensor]) -> Draws:
    """The inverse of ``named``, of draws of several views."""
    prefix = f"{view}."
    return {k.removeprefix(prefix): v for k, v in draws.items() if k.startswith(prefix)}


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, far from those of others; zeros at their end do not count."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def epoch_order(images: int, data: Data, epoch: int) -> Tensor:
    """(N,) places of so many images in an epoch (from 1), on the CPU."""
    generator = torch.Generator().manual_seed(seed_of(data.seed, epoch, ORDER_STREAM))
    return torch.randperm(images, generator=generator)


def images_of(images: int, data: Data, share: Share) -> int:
    """How many of so many training images an epoch learns from, over all processes.

    Raises:
        RequestError: there are not enough for a batch, or a batch has no part for each process.
    """
    size, rest = data.batch_size, images % data.batch_size
    if data.drop_last and images < size:
        raise RequestError(
            f"data.batch_size: {size}, with {images} training images and drop_last, is "
            "no batch at all; lower it or take more images"
        )
    if size % share.of:
        near = max(1, round(size / share.of)) * share.of
        raise RequestError(
            f"data.batch_size: {size} images do not divide among {share.of} processes; "
            f"nearest: {near}"
        )
    if 0 < rest < share.of and not data.drop_last:
        raise RequestError(
            f"data.drop_last: the last batch of an epoch has {rest} images for {share.of} "
            "processes; --set data.drop_last=true leaves it out"
        )
    return images - rest if data.drop_last else images


def batches_of(images: int, data: Data, share: Share, epoch: int, start: int) -> list[Tensor]:
    """The images of every step of an epoch (from 1) that a process takes, from a step on."""
    order = epoch_order(images, data, epoch)[: images_of(images, data, share)]
    batches = order.split(data.batch_size)[start:]  # type: ignore[no-untyped-call]
    return [batch[share.rows(len(batch))] for batch in batches]


def finished(draws: Mapping[str, Tensor]) -> Batch:
    """The batch of draws that hold the finished views, as ``view.weak``, target and index."""
    names: dict[str, View] = {"view.weak": "weak", "view.strong": "strong"}
    views = {view: draws[name] for name, view in names.items() if name in draws}
    return Batch(views, draws["target"], draws["index"])
