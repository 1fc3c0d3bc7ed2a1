"""Views of one image after the other, in worker processes."""

import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from lskd_cli.config import Data
from lskd_cli.data.ahead import sent_ahead
from lskd_cli.data.batch import (
    ALONE,
    IMAGE_STREAM,
    STRONG_STREAM,
    VIEW_STREAMS,
    Batch,
    Draws,
    Loader,
    Normalizer,
    Share,
    batches_of,
    finished,
    named,
    rows,
    seed_of,
    unnamed,
)
from lskd_cli.data.datasets import Images, ImageSet
from lskd_cli.data.strong import draw_strong, strengthen
from lskd_cli.data.timm_transform import seed_everything, timm_transform
from lskd_cli.view import View


@dataclass
class _Wanted:
    """The views of an image that a worker is to make."""

    epoch: int
    index: int
    views: Collection[View]


class _Views(Dataset[Draws]):
    """Views of images; the random numbers of one derive from the epoch and its place alone.

    With timm's augmentation they are normalized images; without, the pixels of crops, which are
    normalized (and made strong) on the device: a fourth of the bytes.
    """

    def __init__(self, images: Images, data: Data) -> None:
        self.images = images
        self.data = data
        self.transform = _cropping(data) if _is_plain(data) else timm_transform(data)

    def __getitem__(self, wanted: _Wanted) -> Draws:
        pixels = self.images.pixels(wanted.index)
        made: Draws = {
            "index": torch.tensor(wanted.index),
            "target": self.images.targets[wanted.index],
        }
        seed = (self.data.seed, wanted.epoch, IMAGE_STREAM, wanted.index)
        for view in wanted.views:
            if _is_plain(self.data):
                torch.default_generator.manual_seed(seed_of(*seed, VIEW_STREAMS[view]))
                made[f"pixels.{view}"] = self.transform(pixels)
            else:
                seed_everything(seed_of(*seed))
                image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
                made[f"view.{view}"] = self.transform(image)
        return made


class _Plan:
    """Batches that are wanted, as lists for a ``DataLoader`` whose workers stay alive."""

    def __init__(self) -> None:
        self.epoch = 0
        self.views: tuple[View, ...] = ()
        self.batches: list[Tensor] = []

    def __iter__(self) -> Iterator[list[_Wanted]]:
        for batch in self.batches:
            yield [_Wanted(self.epoch, index, self.views) for index in batch.tolist()]

    def __len__(self) -> int:
        return len(self.batches)


class WorkerLoader(Loader):
    """Training batches that processes beside this one make ahead of time."""

    def __init__(self, images: Images, data: Data, share: Share = ALONE) -> None:
        """Take the training images.

        Raises:
            RequestError: timm does not know the policy, or the images make no batches.
        """
        super().__init__(len(images), data, share)
        self.images = images.to(torch.device("cpu")) if isinstance(images, ImageSet) else images
        self.device = images.device
        self.normalize = Normalizer(data, images.device)
        self.plan = _Plan()
        self.loader = DataLoader(
            _Views(self.images, data),
            batch_sampler=self.plan,
            num_workers=share.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_signals,
            generator=torch.Generator(),
            persistent_workers=True,
        )

    def epoch(self, epoch: int, views: Collection[View], start: int) -> Callable[[int, int], Draws]:
        """Views of one step of an epoch (from 1) after the other."""
        self.plan.epoch, self.plan.views = epoch, tuple(views)
        self.plan.batches = batches_of(len(self.images), self.data, self.share, epoch, start)
        made = sent_ahead(self.loader, self.device)

        def of_step(step: int, steps: int) -> Draws:
            draws = next(made)
            if "pixels.strong" in draws:
                draws |= self._strong(epoch, step)
            return draws

        return of_step

    def cut(self, draws: Mapping[str, Tensor]) -> Batch:
        """The finished views, or those of the pixels."""
        ready = dict(draws)
        for view in VIEW_STREAMS:
            pixels = ready.pop(f"pixels.{view}", None)
            if pixels is not None:
                if view == "strong":
                    pixels = strengthen(pixels, unnamed(view, draws))
                ready[f"view.{view}"] = self.normalize(pixels)
            if f"view.{view}" in ready:
                made = ready[f"view.{view}"]
                ready[f"view.{view}"] = made.contiguous(memory_format=torch.channels_last)
        return finished(ready)

    def _strong(self, epoch: int, step: int) -> Draws:
        """Numbers of the strong views of a step: drawn for the whole batch, then divided."""
        whole = self.count(step, step + 1)
        seed = seed_of(self.data.seed, epoch, STRONG_STREAM, step)
        numbers = draw_strong(whole, torch.Generator().manual_seed(seed))
        own = named("strong", rows(numbers, self.share.rows(whole)))
        return {name: values.to(self.device, non_blocking=True) for name, values in own.items()}


def leave_signals(worker: int) -> None:
    """Leave Ctrl-C, and a scheduler's request to end, to the process that saves the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _is_plain(data: Data) -> bool:
    """Whether nothing but crops and flips is asked for."""
    augmentation = data.augmentation
    assert augmentation is not None
    return augmentation.policy is None and augmentation.erasing == 0


def _cropping(data: Data) -> v2.Transform:
    assert data.augmentation is not None
    crop = v2.RandomResizedCrop(
        data.image_size, interpolation=InterpolationMode(data.augmentation.interpolation)
    )
    return v2.Compose([crop, v2.RandomHorizontalFlip(0.5 if data.flip else 0.0)])
