"""Batches, what they are made from, and what every loader does."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

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


@dataclass
class Batch:
    """Views of some images, each (N, 3, S, S) float32 normalized, channels last; targets (N,)."""

    views: dict[View, Tensor]
    target: Tensor

    def part(self, rows: slice) -> "Batch":
        """The same of some of the images."""
        views = {view: images[rows] for view, images in self.views.items()}
        return Batch(views, self.target[rows])


class Loader(Protocol):
    """Training batches of an image set, the same ones whenever an epoch is asked for.

    Attributes:
        data: what the batches are made like.
        steps: of an epoch.
        at_once: whether one call can give the images of several steps.
    """

    data: Data
    steps: int
    at_once: bool

    def epoch(self, epoch: int, views: Collection[View], start: int) -> Callable[[int, int], Draws]:
        """What the steps of an epoch (from 1) are made from, from step ``start`` (from 0) on.

        Returns:
            Of a first step and a number of steps; to be asked in order, without gaps.
        """

    def cut(self, draws: Mapping[str, Tensor]) -> Batch:
        """The batch that such draws make, on the device alone."""


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


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, far from those of others; zeros at their end do not count."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def epoch_order(images: int, data: Data, epoch: int) -> Tensor:
    """(N,) places of so many images in an epoch (from 1), on the CPU."""
    generator = torch.Generator().manual_seed(seed_of(data.seed, epoch, ORDER_STREAM))
    return torch.randperm(images, generator=generator)


def steps_of(images: int, data: Data) -> int:
    """Steps of an epoch over so many images.

    Raises:
        RequestError: there are not enough for one.
    """
    steps = images // data.batch_size if data.drop_last else -(-images // data.batch_size)
    if steps == 0:
        raise RequestError(
            f"data.batch_size: {data.batch_size}, with {images} training images and drop_last, is "
            "no batch at all; lower it or take more images"
        )
    return steps


def images_of(images: int, data: Data) -> int:
    """How many of so many training images an epoch learns from."""
    return images - images % data.batch_size if data.drop_last else images


def finished(draws: Mapping[str, Tensor]) -> Batch:
    """The batch of draws that hold the finished views, as ``view.weak``, and the target."""
    names: dict[str, View] = {"view.weak": "weak", "view.strong": "strong"}
    views = {view: draws[name] for name, view in names.items() if name in draws}
    return Batch(views, draws["target"])
