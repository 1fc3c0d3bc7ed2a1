"""Images in memory, in one tensor on the device where batches are made."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImagesIdentity:
    """Metadata of an image set.

    Attributes:
        classes: names of the classes.
        archive: SHA-256 of the archive of custom images.
        image_size: side in pixels of images that all have the same size.
    """

    classes: tuple[str, ...]
    archive: str | None = None
    image_size: int | None = None


@dataclass
class InMemoryImages:
    """Images in one tensor, and their classes.

    Attributes:
        images: (N, S, S, 3) uint8, RGB.
        targets: (N,) int64 class indices.
        classes: names of the classes; empty if they are not known.
        digest: SHA-256 of the archive of custom images.
    """

    images: Tensor
    targets: Tensor
    classes: tuple[str, ...] = ()
    digest: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def identity(self) -> ImagesIdentity:
        """Classes, archive and size of these images."""
        return ImagesIdentity(self.classes, self.digest, self.images.shape[1])

    @property
    def device(self) -> torch.device:
        """The device of the images, on which batches are made."""
        return self.targets.device

    def to(self, device: torch.device) -> "InMemoryImages":
        """The images on another device."""
        return replace(self, images=self.images.to(device), targets=self.targets.to(device))

    def subset(self, indices: "np.ndarray[Any, Any]") -> "InMemoryImages":
        """The images with the given indices."""
        selected = torch.from_numpy(indices)
        return replace(self, images=self.images[selected], targets=self.targets[selected])

    def load_image(self, index: int) -> Tensor:
        """One image, (3, H, W) uint8."""
        return self.images[index].permute(2, 0, 1)
