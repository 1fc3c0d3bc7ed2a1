"""Mixup and cutmix of a batch with its own images in reverse order, as timm does it."""

from dataclasses import replace

import torch

from lskd_cli.config import Data
from lskd_cli.data.augment.timm_transform import seed_everything
from lskd_cli.data.batch import Batch, MixSpec
from lskd_cli.random_streams import mix_seed


class Mixer:
    """Draws one mixup or cutmix for every step with timm's ``Mixup``."""

    def __init__(self, data: Data) -> None:
        from timm.data import Mixup

        self.data = data
        self.mixup = Mixup(
            mixup_alpha=data.mixup, cutmix_alpha=data.cutmix, label_smoothing=0.0, num_classes=2
        )

    def __call__(self, epoch: int, step: int) -> MixSpec:
        """The mixing of a step, on the CPU: the same for every process and view.

        timm mixes an image of ones of class 0 with an image of zeros of class 1, which gives the
        weights of every pixel and of the target.
        """
        size = self.data.image_size
        images = torch.stack([torch.ones(1, size, size), torch.zeros(1, size, size)])
        seed_everything(mix_seed(self.data.seed, epoch, step))
        mixed, target = self.mixup(images, torch.tensor([0, 1]))
        return MixSpec(mixed[0, 0], target[0, 0])


def mix_batch(batch: Batch, spec: MixSpec) -> Batch:
    """The batch with every view mixed; ``target`` is the class with the larger weight.

    The partner of an image belongs to the same process.
    """
    partner = batch.target.flip(0)
    views = {
        view: torch.lerp(images.flip(0), images, spec.weights)
        for view, images in batch.views.items()
    }
    is_larger = spec.target_weight >= 0.5
    return replace(
        batch,
        views=views,
        target=torch.where(is_larger, batch.target, partner),
        other_target=torch.where(is_larger, partner, batch.target),
        target_weight=torch.maximum(spec.target_weight, 1 - spec.target_weight),
    )
