"""Loader that applies timm's training transform to whole batches on the device.

timm itself draws the random choices for each image on the CPU. The loader therefore knows which
images an operation applies to, and only those images pass through it.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import Data, View
from lskd_cli.data.batch import (
    UNSHARDED,
    VIEW_STREAMS,
    Batch,
    BatchSpec,
    DataShard,
    Normalizer,
    ViewSpec,
    derive_seed,
)
from lskd_cli.data.image_ops import (
    AFFINE_OPS,
    BLEND_OPS,
    LOOKUP_OPS,
    OP_CODES,
    affine_matrix,
    blend_ops,
    lookup_ops,
)
from lskd_cli.data.in_memory import InMemoryImages
from lskd_cli.data.loader_base import Loader, epoch_permutation
from lskd_cli.data.resample import crop_and_resize
from lskd_cli.data.strong_augment import sample_strong_params, strong_augment
from lskd_cli.data.timm_transform import TransformSampler, random_erasing, seed_everything


class DeviceLoader(Loader):
    """Training batches whose views are completed before the training step.

    Random numbers are drawn for the whole batch, so each of several processes makes all of it.
    """

    def __init__(self, images: InMemoryImages, data: Data, shard: DataShard = UNSHARDED) -> None:
        """Use images on the device where batches are made.

        Raises:
            RequestError: the policy has an unsupported operation, or the images do not make
                batches.
        """
        super().__init__(len(images), data, shard)
        self.images = images
        self.normalize = Normalizer(data.mean, data.std, images.device)
        self.sampler = TransformSampler(data)
        self.erase = random_erasing(data, images.device)
        gray = [min(255, round(255 * mean)) for mean in data.mean]  # timm's fill color
        self.fill = torch.tensor(gray, device=images.device).view(3, 1, 1)

    def _start_epoch(self, epoch: int, views: Collection[View], first_step: int) -> None:
        self.views = tuple(views)
        self.order = epoch_permutation(len(self.images), self.data, epoch)

    def _batch_spec(self, step: int, num_steps: int) -> BatchSpec:
        size = self.data.batch_size
        index = self._to_device(self.order[step * size : (step + num_steps) * size])
        views: dict[View, ViewSpec] = {}
        for view in self.views:
            seed_everything(derive_seed(self.data.seed, self.epoch, VIEW_STREAMS[view], step))
            views[view] = ViewSpec(normalized=self._make_view(self.images.images[index], view))
        spec = BatchSpec(index, views).select(self.shard.slice(len(index)))
        spec.weight = self.process_weight(len(spec.index), step)
        return spec

    def _make_batch(self, spec: BatchSpec) -> Batch:
        views: dict[View, Tensor] = {}
        for view, params in spec.views.items():
            assert params.normalized is not None
            views[view] = params.normalized
        return Batch(views, self.images.targets[spec.index], spec.index, spec.weight)

    def _make_view(self, images: Tensor, view: View) -> Tensor:
        """A view of (N, H, W, 3) uint8 images: (N, 3, S, S) float32, normalized."""
        augmentation = self.data.augmentation
        assert augmentation is not None
        count, height, width, _ = images.shape
        params = self.sampler(height, width, count)
        pixels = crop_and_resize(
            images.permute(0, 3, 1, 2),
            self._to_device(params.boxes),
            self._to_device(params.flip),
            self.data.image_size,
            augmentation.interpolation,
        )
        for codes, parameters in params.layers:
            pixels = self._apply_layer(pixels, codes, parameters, augmentation.interpolation)
        if view == "strong":
            # Not part of timm's transform: the operations that strong views add everywhere.
            strong = sample_strong_params(count, torch.default_generator)
            pixels = strong_augment(pixels, strong.map(self._to_device))
        normalized = self.normalize(pixels)
        return self.erase(normalized).contiguous(memory_format=torch.channels_last)

    def _apply_layer(
        self, images: Tensor, codes: Tensor, parameters: Tensor, interpolation: str
    ) -> Tensor:
        """Apply one operation to each (N, 3, S, S) uint8 image, in place.

        ``codes`` and ``parameters`` are (N,) each, on the CPU.
        """

        def affine_ops(selected: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
            matrix = affine_matrix(selected, operation, parameter)
            return affine_transform(selected, matrix, interpolation, self.fill)

        for names, function in (
            (LOOKUP_OPS, lookup_ops),
            (AFFINE_OPS, affine_ops),
            (BLEND_OPS, blend_ops),
        ):
            group = torch.tensor([OP_CODES[name] for name in names])
            selected = torch.isin(codes, group).nonzero()[:, 0]
            if len(selected):
                index, operation, parameter = (
                    self._to_device(values)
                    for values in (selected, codes[selected], parameters[selected])
                )
                images[index] = function(images[index], operation, parameter)
        return images

    def _to_device(self, values: Tensor) -> Tensor:
        """A small tensor on the device, without synchronization."""
        return values.to(self.images.device, non_blocking=True)


def affine_transform(images: Tensor, matrix: Tensor, interpolation: str, fill: Tensor) -> Tensor:
    """Affine transform of images, with a constant color outside.

    PyTorch's bicubic filter (a = -0.75) is slightly softer than Pillow's for transforms (a = -1).

    Args:
        images: (N, 3, S, S) uint8.
        matrix: (6, N) of ``affine_matrix``.
        interpolation: bilinear or bicubic.
        fill: (3, 1, 1) color.
    """
    count, _, height, width = images.shape
    x_row, y_row = matrix.to(torch.float32).view(2, 3, count).unbind(0)
    x = torch.arange(width, device=images.device) + 0.5
    y = (torch.arange(height, device=images.device) + 0.5)[:, None]
    column, row = (
        (a[:, None, None] * x + b[:, None, None] * y + c[:, None, None])
        for a, b, c in (x_row, y_row)
    )
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    grid = torch.stack([2 * column / width - 1, 2 * row / height - 1], dim=-1)
    moved = F.grid_sample(
        images.to(torch.float32),
        grid,
        mode=interpolation,
        padding_mode="border",
        align_corners=False,
    )
    result = torch.where(inside[:, None], moved.add_(0.5).floor_().clamp_(0, 255), fill)
    return result.to(torch.uint8)
