"""Training, test and validation images."""

from dataclasses import dataclass, field

import torch

from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.in_memory import InMemoryImages

Images = InMemoryImages | FileImages


@dataclass
class DataSplits:
    """Training, test and, if images are held out for it, validation images.

    Attributes:
        train: training images.
        test: test images.
        val: validation images.
        notes: what was left out, a line each for the user.
    """

    train: Images
    test: Images
    val: Images | None = None
    notes: list[str] = field(default_factory=list, kw_only=True)

    def to(self, device: torch.device) -> "DataSplits":
        """The splits on another device."""
        val = self.val.to(device) if self.val else None
        return DataSplits(self.train.to(device), self.test.to(device), val, notes=self.notes)
