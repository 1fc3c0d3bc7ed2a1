"""Batches, their specifications, and the base class of all loaders."""

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, TypeVar

import joblib
import numpy as np
import torch
from torch import Tensor

from lskd_cli.config import Data, View
from lskd_cli.errors import RequestError

# Independent random streams of an epoch. As in the released code, the two views of an image have
# independent crops.
ORDER_STREAM, STRONG_STREAM, IMAGE_STREAM = 0, 3, 4
VIEW_STREAMS: dict[View, int] = {"weak": 1, "strong": 2}
_MAX_WORKERS = 16

Spec = TypeVar("Spec", bound="TensorSpec")


def worker_count(processes: int = 1) -> int:
    """Number of DataLoader workers for each of several processes on this machine.

    It is the number of cores per process, at most 16: every worker holds two batches in memory
    (150 MB each for 512 images of 224 pixels).
    """
    cores: int = joblib.cpu_count()
    return max(1, min(cores // processes, _MAX_WORKERS))


@dataclass(frozen=True)
class DataShard:
    """The part of every batch that one of several processes gets; by default all of it.

    Attributes:
        rank: rank of the process.
        world_size: number of processes.
        num_workers: number of DataLoader workers that the process may start.
    """

    rank: int = 0
    world_size: int = 1
    num_workers: int = field(default_factory=worker_count)

    def slice(self, count: int) -> builtins.slice:
        """The images of this process among ``count`` images; sizes differ by at most one."""
        start = count * self.rank // self.world_size
        return slice(start, count * (self.rank + 1) // self.world_size)

    def size(self, count: int) -> int:
        """Number of images of this process among ``count`` images."""
        images = self.slice(count)
        return int(images.stop - images.start)


UNSHARDED = DataShard()


class TensorSpec:
    """Base class of dataclasses whose fields are tensors, such dataclasses, or None."""

    def map(self: Spec, function: Callable[[Tensor], Tensor]) -> Spec:
        """The same structure with a function applied to every tensor."""
        return replace(self, **_map_fields(self, function))  # type: ignore[type-var]

    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        found: list[Tensor] = []

        def collect(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        self.map(collect)
        return found

    def pin_memory(self: Spec) -> Spec:
        """The same in page-locked memory; called by ``DataLoader``."""
        return self.map(Tensor.pin_memory)


def _map_fields(spec: Any, function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    mapped: dict[str, Any] = {}
    for item in fields(spec):
        value = getattr(spec, item.name)
        if isinstance(value, Tensor):
            mapped[item.name] = function(value)
        elif isinstance(value, TensorSpec):
            mapped[item.name] = value.map(function)
        elif isinstance(value, dict):
            mapped[item.name] = {key: entry.map(function) for key, entry in value.items()}
        elif is_dataclass(value):
            raise TypeError(f"{item.name}: not a TensorSpec")
    return mapped


@dataclass
class CropParams(TensorSpec):
    """Offsets and flips of N padded crops.

    Attributes:
        top: (N,) offset of the crop in the padded image, in pixels.
        left: (N,) likewise.
        flip: (N,) bool, whether the crop is flipped horizontally.
    """

    top: Tensor
    left: Tensor
    flip: Tensor


@dataclass
class StrongParams(TensorSpec):
    """Parameters of the operations that turn N weak views into strong views.

    Attributes:
        operation: (N, 2) codes of operations.
        parameter: (N, 2) float64 parameter of each operation.
        side: (N,) side of the cutout as a fraction of the width.
        center: (N, 2) horizontal and vertical center of the cutout as fractions of the size.
    """

    operation: Tensor
    parameter: Tensor
    side: Tensor
    center: Tensor


@dataclass
class ViewSpec(TensorSpec):
    """How one view of N images is made; the loader decides which fields are set.

    Attributes:
        crop: padded crops of images in memory.
        pixels: (N, 3, S, S) uint8 views that are already cropped.
        normalized: (N, 3, S, S) float32 views that are complete.
        strong: operations that are applied after the crop.
    """

    crop: CropParams | None = None
    pixels: Tensor | None = None
    normalized: Tensor | None = None
    strong: StrongParams | None = None


@dataclass
class BatchSpec(TensorSpec):
    """Everything that determines the views of N images; all random numbers are drawn already.

    Attributes:
        index: (N,) indices of the images in the training set.
        views: how each view is made.
        weak_logits: (N, C) cached logits of the teacher for the weak view, if there is a cache.
        weight: weight of this process in the mean gradient of all processes.
    """

    index: Tensor
    views: dict[View, ViewSpec]
    weak_logits: Tensor | None = None
    weight: float = 1.0

    def select(self, images: builtins.slice | Tensor) -> "BatchSpec":
        """The specification of some of the images."""
        return self.map(lambda tensor: tensor[images])


@dataclass
class Batch:
    """Views and targets of N images.

    Attributes:
        views: (N, 3, S, S) float32 each, normalized, channels last.
        target: (N,) class indices.
        index: (N,) indices of the images in the training set.
        weight: weight of this process in the mean gradient of all processes.
    """

    views: dict[View, Tensor]
    target: Tensor
    index: Tensor
    weight: float = 1.0

    def slice(self, images: builtins.slice) -> "Batch":
        """The batch of some of the images."""
        views = {view: pixels[images] for view, pixels in self.views.items()}
        return Batch(views, self.target[images], self.index[images], self.weight)


class Loader(ABC):
    """Training batches; an epoch has the same batches whenever it is requested.

    Attributes:
        data: settings of the batches.
        epoch_size: number of images in an epoch, over all processes.
        supports_several_steps: whether one specification can contain several steps.
        shard: the part of every batch that this process gets.
    """

    supports_several_steps: ClassVar[bool] = False

    def __init__(self, num_images: int, data: Data, shard: DataShard) -> None:
        """Check that the images make batches.

        Raises:
            RequestError: there are too few images, or batches cannot be divided among processes.
        """
        self.data = data
        self.shard = shard
        self.epoch_size = epoch_size(num_images, data, shard)

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

        It is 1 unless processes have different numbers of images, at the end of an epoch.

        Args:
            num_images: number of images of this process in the step.
            step: counted from 0.
        """
        if self.shard.world_size == 1:
            return 1.0
        return num_images * self.shard.world_size / self.count(step, step + 1)

    @abstractmethod
    def start_epoch(self, epoch: int, views: Collection[View], first_step: int) -> None:
        """Prepare an epoch (counted from 1) from a step (counted from 0) on."""

    @abstractmethod
    def batch_spec(self, step: int, num_steps: int) -> BatchSpec:
        """Specification of some steps of the current epoch, on the device.

        It is requested in order and without gaps, for one step at a time if there are several
        processes or ``supports_several_steps`` is False.
        """

    @abstractmethod
    def make_batch(self, spec: BatchSpec) -> Batch:
        """The batch of a specification, computed on the device only."""


class Normalizer:
    """Converts (B, 3, S, S) uint8 images to normalized float32."""

    def __init__(self, data: Data, device: torch.device) -> None:
        # Created once, because a copy to the device in every step would synchronize it.
        self.mean = torch.tensor(data.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)


def derive_seed(*key: int) -> int:
    """A seed derived from several numbers; trailing zeros of the key have no effect."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def epoch_permutation(num_images: int, data: Data, epoch: int) -> Tensor:
    """(N,) order of the images in an epoch (counted from 1), on the CPU."""
    generator = torch.Generator().manual_seed(derive_seed(data.seed, epoch, ORDER_STREAM))
    return torch.randperm(num_images, generator=generator)


def epoch_size(num_images: int, data: Data, shard: DataShard) -> int:
    """Number of images in an epoch, over all processes.

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
    if 0 < remainder < world_size and not data.drop_last:
        raise RequestError(
            f"data.drop_last: the last batch of an epoch has {remainder} images for {world_size} "
            "processes; drop it with --set data.drop_last=true"
        )
    return num_images - remainder if data.drop_last else num_images


def rank_batches(
    num_images: int, data: Data, shard: DataShard, epoch: int, first_step: int
) -> list[Tensor]:
    """Image indices of every step of an epoch (counted from 1) for one process."""
    order = epoch_permutation(num_images, data, epoch)[: epoch_size(num_images, data, shard)]
    batches = order.split(data.batch_size)[first_step:]  # type: ignore[no-untyped-call]
    return [batch[shard.slice(len(batch))] for batch in batches]
