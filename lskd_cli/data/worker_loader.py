"""Loader whose views are made image by image in DataLoader workers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from lskd_cli.config import Data, View
from lskd_cli.data.augment.strong_augment import sample_strong_params, strong_augment
from lskd_cli.data.augment.timm_transform import seed_everything, timm_transform
from lskd_cli.data.batch import (
    UNSHARDED,
    Batch,
    BatchSpec,
    DataShard,
    Normalizer,
    StrongParams,
    ViewSpec,
)
from lskd_cli.data.loader_base import Loader, rank_batches
from lskd_cli.data.prefetch import prefetch
from lskd_cli.data.sets.in_memory import InMemoryImages
from lskd_cli.data.sets.splits import Images
from lskd_cli.data.worker_processes import end_workers_at_exit, ignore_signals
from lskd_cli.random_streams import image_seed, strong_seed


@dataclass
class _ImageRequest:
    """The views of one image that a worker makes."""

    epoch: int
    index: int
    views: Collection[View]


class _ViewDataset(Dataset[BatchSpec]):
    """Views of single images; their random numbers derive from the epoch and the index alone.

    With timm's augmentation, weak views are normalized images. All others are uint8 crops, which
    the device normalizes and, for strong views, augments strongly instead of erasing rectangles.
    """

    def __init__(self, images: Images, data: Data) -> None:
        self.images = images
        self.data = data
        self.is_plain = _is_plain(data)
        self.transform = _crop_transform(data) if self.is_plain else timm_transform(data)
        self.strong = None if self.is_plain else timm_transform(data, to_pixels=True)

    def __getitem__(self, request: _ImageRequest) -> BatchSpec:
        image = self.images.load_image(request.index)
        views: dict[View, ViewSpec] = {}
        for view in request.views:
            seed = image_seed(self.data.seed, request.epoch, request.index, view, self.is_plain)
            if self.is_plain:
                torch.default_generator.manual_seed(seed)
                views[view] = ViewSpec(pixels=self.transform(image))
            else:
                seed_everything(seed)
                pillow_image = Image.fromarray(image.permute(1, 2, 0).numpy())
                if view == "strong" and self.strong is not None:
                    views[view] = ViewSpec(pixels=self.strong(pillow_image))
                else:
                    views[view] = ViewSpec(normalized=self.transform(pillow_image))
        return BatchSpec(torch.tensor(request.index), views)


def _collate(images: Sequence[BatchSpec]) -> BatchSpec:
    columns = [torch.stack(column) for column in zip(*(i.tensors() for i in images), strict=True)]
    stacked = iter(columns)
    return images[0].map(lambda _: next(stacked))


class _BatchSampler:
    """The batches of an epoch for a ``DataLoader`` whose workers persist."""

    def __init__(self) -> None:
        self.epoch = 0
        self.views: tuple[View, ...] = ()
        self.batches: list[Tensor] = []

    def __iter__(self) -> Iterator[list[_ImageRequest]]:
        for batch in self.batches:
            yield [_ImageRequest(self.epoch, index, self.views) for index in batch.tolist()]

    def __len__(self) -> int:
        return len(self.batches)


class WorkerLoader(Loader):
    """Training batches that worker processes make ahead of time."""

    def __init__(self, images: Images, data: Data, shard: DataShard = UNSHARDED) -> None:
        """Start no worker yet; the first epoch does.

        Raises:
            RequestError: timm does not know the policy, or the images do not make batches.
        """
        super().__init__(len(images), data, shard)
        self.device = images.device
        self.targets = images.targets.to(self.device)
        self.normalize = Normalizer(data.mean, data.std, self.device)
        self.sampler = _BatchSampler()
        self.num_images = len(images)
        on_cpu = images.to(torch.device("cpu")) if isinstance(images, InMemoryImages) else images
        end_workers_at_exit()
        self.loader = DataLoader(
            _ViewDataset(on_cpu, data),
            batch_sampler=self.sampler,
            num_workers=shard.num_workers,
            collate_fn=_collate,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=ignore_signals,
            generator=torch.Generator(),
            persistent_workers=True,
        )

    def _start_epoch(self, epoch: int, views: Collection[View], first_step: int) -> None:
        self.sampler.epoch, self.sampler.views = epoch, tuple(views)
        self.sampler.batches = rank_batches(
            self.num_images, self.data, self.shard, epoch, first_step
        )
        self.batches = prefetch(self.loader, self.device)

    def _batch_spec(self, step: int, num_steps: int) -> BatchSpec:
        spec: BatchSpec = next(self.batches)
        strong = spec.views.get("strong")
        if strong is not None and strong.pixels is not None:
            strong.strong = self._strong_params(step)
        spec.weight = self.process_weight(len(spec.index), step)
        return spec

    def _make_batch(self, spec: BatchSpec) -> Batch:
        views: dict[View, Tensor] = {}
        for view, params in spec.views.items():
            normalized = params.normalized
            if normalized is None:
                assert params.pixels is not None
                pixels = params.pixels
                if params.strong is not None:
                    pixels = strong_augment(pixels, params.strong)
                normalized = self.normalize(pixels)
            views[view] = normalized.contiguous(memory_format=torch.channels_last)
        return Batch(views, self.targets[spec.index], spec.index, spec.weight)

    def _strong_params(self, step: int) -> StrongParams:
        """Parameters of the strong views of a step: drawn for the whole batch, then sharded."""
        count = self.count(step, step + 1)
        seed = strong_seed(self.data.seed, self.sampler.epoch, step)
        params = sample_strong_params(count, torch.Generator().manual_seed(seed))
        images = self.shard.batch_slice(count)
        return params.map(lambda tensor: tensor[images].to(self.device, non_blocking=True))


def _is_plain(data: Data) -> bool:
    """Whether the augmentation consists of crops and flips only."""
    augmentation = data.augmentation
    assert augmentation is not None
    return augmentation.policy is None and augmentation.erasing == 0


def _crop_transform(data: Data) -> v2.Transform:
    assert data.augmentation is not None
    crop = v2.RandomResizedCrop(
        data.image_size, interpolation=InterpolationMode(data.augmentation.interpolation)
    )
    return v2.Compose([crop, v2.RandomHorizontalFlip(0.5 if data.flip else 0.0)])
