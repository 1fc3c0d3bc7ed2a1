"""Images that timm's readers open."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from lskd_cli.data.sets.file_images import FileImages


@dataclass
class ReaderImages(FileImages):
    """Images of a timm reader.

    Attributes:
        reader: gives the encoded image and the target of an index.
        positions: (N,) indices of the images in the reader.
    """

    reader: Any
    positions: "np.ndarray[Any, Any]"

    def open_file(self, index: int) -> IO[bytes]:
        file: IO[bytes] = self.reader[int(self.positions[index])][0]
        return file

    def subset(self, indices: "np.ndarray[Any, Any]") -> "ReaderImages":
        """The images with the given indices."""
        part = super().subset(indices)
        return replace(part, positions=self.positions[indices])


def reader_images(
    root: Path, reader: Any, files: Sequence[str], targets: Any, classes: Sequence[str]
) -> ReaderImages:
    """The images of a reader.

    Args:
        root: folder or archive, for messages.
        reader: gives the encoded image and the target of an index.
        files: names of the images.
        targets: class indices.
        classes: names of the classes.
    """
    return ReaderImages(
        root,
        np.array([name.encode() for name in files]),
        torch.from_numpy(np.asarray(targets, dtype=np.int64)),
        tuple(classes),
        torch.device("cpu"),
        reader,
        np.arange(len(files)),
    )
