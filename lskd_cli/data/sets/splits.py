"""Training, test and validation images."""

from dataclasses import dataclass

import torch

from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.in_memory import InMemoryImages

Images = InMemoryImages | FileImages


@dataclass
class DataSplits:
    """Training, test and, if images are held out for it, validation images."""

    train: Images
    test: Images
    val: Images | None = None

    def to(self, device: torch.device) -> "DataSplits":
        """The splits on another device."""
        val = self.val.to(device) if self.val else None
        return DataSplits(self.train.to(device), self.test.to(device), val)
