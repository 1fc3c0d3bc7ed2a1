"""Batches and their specifications."""

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

import joblib
import torch
from torch import Tensor

from lskd_cli.config import View

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

    def batch_slice(self, count: int) -> builtins.slice:
        """The images of this process in a training batch of ``count`` images, at least one.

        Without enough images for all processes, the last processes repeat the last image, with
        weight 0, because all processes take part in every step.
        """
        if count >= self.world_size:
            return self.slice(count)
        start = min(self.rank, count - 1)
        return slice(start, start + 1)

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
class MixSpec(TensorSpec):
    """How the images of a batch are mixed with their partners.

    Attributes:
        weights: (S, S) weight of an image at every pixel; its partner has the rest.
        target_weight: scalar, weight of the image in the target.
    """

    weights: Tensor
    target_weight: Tensor


@dataclass
class BatchSpec(TensorSpec):
    """Everything that determines the views of N images; all random numbers are drawn already.

    Attributes:
        index: (N,) indices of the images in the training set.
        views: how each view is made.
        weak_logits: (N, C) cached logits of the teacher for the weak view, if there is a cache.
        weight: weight of this process in the mean gradient of all processes.
        mix: how the images are mixed with each other.
    """

    index: Tensor
    views: dict[View, ViewSpec]
    weak_logits: Tensor | None = None
    weight: float = 1.0
    mix: MixSpec | None = None

    def select(self, images: builtins.slice | Tensor) -> "BatchSpec":
        """The specification of some of the images, which must not be mixed yet."""
        return self.map(lambda tensor: tensor[images])


@dataclass
class Batch:
    """Views and targets of N images.

    Attributes:
        views: (N, 3, S, S) float32 each, normalized, channels last.
        target: (N,) class indices; of mixed images, those of the larger part.
        index: (N,) indices of the images in the training set.
        weight: weight of this process in the mean gradient of all processes.
        other_target: (N,) class indices of the smaller part of mixed images.
        target_weight: scalar, weight of ``target`` in mixed images.
    """

    views: dict[View, Tensor]
    target: Tensor
    index: Tensor
    weight: float = 1.0
    other_target: Tensor | None = None
    target_weight: Tensor | None = None

    def slice(self, images: builtins.slice) -> "Batch":
        """The batch of some of the images."""
        views = {view: pixels[images] for view, pixels in self.views.items()}
        other = None if self.other_target is None else self.other_target[images]
        return Batch(
            views, self.target[images], self.index[images], self.weight, other, self.target_weight
        )

    def soft_target(self, num_classes: int, smoothing: float) -> Tensor | None:
        """(N, C) target probabilities; None if images are not mixed and nothing is smoothed."""
        if self.other_target is None and smoothing == 0:
            return None
        target = _one_hot(self.target, num_classes)
        if self.other_target is not None and self.target_weight is not None:
            target = torch.lerp(
                _one_hot(self.other_target, num_classes), target, self.target_weight
            )
        return (1 - smoothing) * target + smoothing / num_classes


def _one_hot(target: Tensor, num_classes: int) -> Tensor:
    """(N, C) float32; ``torch.nn.functional.one_hot`` reads values on some devices."""
    zeros = torch.zeros(len(target), num_classes, device=target.device)
    return zeros.scatter_(1, target[:, None], 1.0)


class Normalizer:
    """Converts (B, 3, S, S) uint8 images to normalized float32."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        # Created once, because a copy to the device in every step would synchronize it.
        self.mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(std, device=device).view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)
