"""timm's training transform, image by image, in worker processes."""

import signal
from collections.abc import Callable, Collection, Mapping

import joblib
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lskd_cli.config import Data
from lskd_cli.data.batch import (
    IMAGE_STREAM,
    Batch,
    Draws,
    epoch_order,
    finished,
    seed_of,
    steps_of,
)
from lskd_cli.data.datasets import ImageSet
from lskd_cli.data.timm_transform import seed_everything, timm_transform
from lskd_cli.view import View


class _Images(Dataset[tuple[Tensor, Tensor]]):
    """Transformed images; the random numbers of one derive from the epoch and its place alone."""

    def __init__(self, images: ImageSet, data: Data, epoch: int) -> None:
        self.images = images
        self.data = data
        self.epoch = epoch
        self.transform = timm_transform(data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        seed_everything(seed_of(self.data.seed, self.epoch, IMAGE_STREAM, index))
        image = Image.fromarray(self.images.images[index].numpy())
        return self.transform(image), self.images.targets[index]


class WorkerLoader:
    """Training batches that processes beside this one make ahead of time."""

    at_once = False

    def __init__(self, images: ImageSet, data: Data) -> None:
        """Take the training images.

        Raises:
            RequestError: timm does not know the policy, or there are too few images.
        """
        self.device = images.targets.device
        self.images = images.to(torch.device("cpu"))
        self.data = data
        self.steps = steps_of(len(images), data)
        timm_transform(data)

    def epoch(self, epoch: int, views: Collection[View], start: int) -> Callable[[int, int], Draws]:
        """Finished weak views of one step of an epoch (from 1) after the other."""
        assert "strong" not in views, "refused by the preset"
        order = epoch_order(len(self.images), self.data, epoch)
        batches = order[: self.steps * self.data.batch_size].split(  # type: ignore[no-untyped-call]
            self.data.batch_size
        )
        batches_left = [batch.tolist() for batch in batches[start:]]
        loader = DataLoader(
            _Images(self.images, self.data, epoch),
            batch_sampler=batches_left,
            num_workers=joblib.cpu_count(),
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_ignore_interrupts,
            generator=torch.Generator(),
        )
        stream = iter(loader)

        def make(step: int, steps: int) -> Draws:
            images, target = next(stream)
            images = images.to(self.device, non_blocking=True)
            return {
                "target": target.to(self.device, non_blocking=True),
                "view.weak": images.contiguous(memory_format=torch.channels_last),
            }

        return make

    def cut(self, draws: Mapping[str, Tensor]) -> Batch:
        return finished(draws)


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the process that saves the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
