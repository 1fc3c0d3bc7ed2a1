"""The base class of all loaders, and the order of the images of an epoch."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor

from lskd_cli.config import Data, View
from lskd_cli.data.augment.mixing import Mixer, mix_batch
from lskd_cli.data.batch import Batch, BatchSpec, DataShard
from lskd_cli.errors import RequestError
from lskd_cli.random_streams import order_seed


class Loader(ABC):
    """Training batches; an epoch has the same batches whenever it is requested.

    Attributes:
        data: settings of the batches.
        epoch_size: number of images in an epoch, over all processes.
        draws_whole_epochs: whether the specification of an epoch exists as a whole.
        shard: the part of every batch that this process gets.
    """

    draws_whole_epochs: ClassVar[bool] = False

    def __init__(self, num_images: int, data: Data, shard: DataShard) -> None:
        """Check that the images make batches.

        Raises:
            RequestError: there are too few images, or batches cannot be divided among processes.
        """
        self.data = data
        self.shard = shard
        self.epoch_size = epoch_size(num_images, data, shard)
        if data.is_mixed and data.batch_size < 2 * shard.world_size:
            raise RequestError(
                "data.batch_size: with data.mixup or data.cutmix, every process needs at least 2 "
                "images"
            )
        self.mixer = Mixer(data) if data.is_mixed else None
        self.epoch = 1

    @property
    def supports_several_steps(self) -> bool:
        """Whether one specification can contain several steps."""
        return self.draws_whole_epochs and self.mixer is None

    @property
    def num_steps(self) -> int:
        """Number of steps of an epoch."""
        return -(-self.epoch_size // self.data.batch_size)

    def count(self, first_step: int, end_step: int) -> int:
        """Number of images of some steps, over all processes; ``end_step`` is exclusive."""
        size = self.data.batch_size
        return min(end_step * size, self.epoch_size) - first_step * size

    def process_weight(self, num_images: int, step: int) -> float:
        """Weight of this process's mean loss in the mean over processes.

        It is 1 unless processes have different numbers of images, at the end of an epoch, and 0 for
        a process without an image of its own.

        Args:
            num_images: number of images of this process in the step.
            step: counted from 0.
        """
        if self.shard.world_size == 1:
            return 1.0
        count = self.count(step, step + 1)
        if self.shard.rank >= count:
            return 0.0
        return num_images * self.shard.world_size / count

    def start_epoch(self, epoch: int, views: Collection[View], first_step: int) -> None:
        """Prepare an epoch (counted from 1) from a step (counted from 0) on."""
        self.epoch = epoch
        self._start_epoch(epoch, views, first_step)

    def batch_spec(self, step: int, num_steps: int) -> BatchSpec:
        """Specification of some steps of the current epoch, on the device.

        It is requested in order and without gaps, for one step at a time if there are several
        processes or ``supports_several_steps`` is False.
        """
        spec = self._batch_spec(step, num_steps)
        if self.mixer is not None:
            device = spec.index.device
            mix = self.mixer(self.epoch, step)
            # A copy from memory that is not pinned could wait for the previous step.
            is_cuda = device.type == "cuda"
            spec.mix = mix.map(
                lambda tensor: (tensor.pin_memory() if is_cuda else tensor).to(
                    device, non_blocking=True
                )
            )
        return spec

    def make_batch(self, spec: BatchSpec) -> Batch:
        """The batch of a specification, computed on the device only."""
        batch = self._make_batch(spec)
        return batch if spec.mix is None else mix_batch(batch, spec.mix)

    @abstractmethod
    def _start_epoch(self, epoch: int, views: Collection[View], first_step: int) -> None: ...

    @abstractmethod
    def _batch_spec(self, step: int, num_steps: int) -> BatchSpec: ...

    @abstractmethod
    def _make_batch(self, spec: BatchSpec) -> Batch: ...


def epoch_permutation(num_images: int, data: Data, epoch: int) -> Tensor:
    """(N,) order of the images in an epoch (counted from 1), on the CPU."""
    generator = torch.Generator().manual_seed(order_seed(data.seed, epoch))
    return torch.randperm(num_images, generator=generator)


def epoch_size(num_images: int, data: Data, shard: DataShard) -> int:
    """Number of images in an epoch, over all processes.

    An incomplete last batch of a single image is left out.

    Raises:
        RequestError: there are too few images for a batch, or a batch cannot be divided among the
            processes.
    """
    size, remainder = data.batch_size, num_images % data.batch_size
    world_size = shard.world_size
    if data.drop_last and num_images < size:
        raise RequestError(
            f"data.batch_size: batch_size ({size}) exceeds the training set ({num_images} images); "
            "lower it, or set data.drop_last=false"
        )
    if size % world_size:
        near = max(1, round(size / world_size)) * world_size
        raise RequestError(
            f"data.batch_size: {size} is not divisible by the number of processes ({world_size}); "
            f"nearest: {near}"
        )
    if remainder == 1 and not data.drop_last:
        return num_images - 1  # batch norms need more than one image
    return num_images - remainder if data.drop_last else num_images


def rank_batches(
    num_images: int, data: Data, shard: DataShard, epoch: int, first_step: int
) -> list[Tensor]:
    """Image indices of every step of an epoch (counted from 1) for one process."""
    order = epoch_permutation(num_images, data, epoch)[: epoch_size(num_images, data, shard)]
    batches = order.split(data.batch_size)[first_step:]  # type: ignore[no-untyped-call]
    return [batch[shard.batch_slice(len(batch))] for batch in batches]
