"""Conversion of the views of a batch into the images that one of its networks was trained with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import Data
from lskd_cli.preprocessing import Preprocessing


class ViewAdapter:
    """Changes size and normalization of (B, 3, S, S) images on their device."""

    def __init__(self, size: int) -> None:
        """Change the size only; ``between`` also changes the normalization.

        Args:
            size: side of the network's input in pixels.
        """
        self.size = (size, size)
        self.scale: Tensor | None = None
        self.shift: Tensor | None = None

    @classmethod
    def between(
        cls, data: Data, preprocessing: Preprocessing, device: torch.device
    ) -> "ViewAdapter":
        """An adapter from views with the normalization of a preset's data to a network's images.

        With pixels p, a view is (p - m) / s, and the network expects (p - m') / s'. This is the
        view times s / s', plus (m - m') / s'.
        """
        adapter = cls(preprocessing.image_size)
        if preprocessing.normalization != (tuple(data.mean), tuple(data.std)):
            old_mean, old_std, mean, std = (
                torch.tensor(values, device=device, dtype=torch.float64).view(3, 1, 1)
                for values in (data.mean, data.std, preprocessing.mean, preprocessing.std)
            )
            adapter.scale = (old_std / std).float()
            adapter.shift = ((old_mean - mean) / std).float()
        return adapter

    def __call__(self, images: Tensor) -> Tensor:
        """The images of the network.

        Images of another size are resized bilinearly without antialiasing, as in the runs of the
        published rows.
        """
        if self.scale is not None and self.shift is not None:
            images = torch.addcmul(self.shift, images, self.scale)
        if images.shape[2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False)
        return images
