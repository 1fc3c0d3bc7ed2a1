"""Data sets of the Hugging Face Hub, or local folders in its layout."""

import io
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from lskd_cli.config import Data
from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError, first_line
from lskd_cli.io.download import Progress
from lskd_cli.io.hub import offline_if_unreachable

_VAL_SPLITS = ("validation", "val", "valid", "test")
_LABELS = ("label", "labels", "fine_label")


@dataclass
class HubImages(FileImages):
    """Encoded images of a split.

    Attributes:
        column: the column of the images, whose entries have ``bytes`` or a ``path``.
        positions: (N,) indices of the images in the column.
    """

    column: Any
    positions: "np.ndarray[Any, Any]"

    def open_file(self, index: int) -> IO[bytes]:
        entry = self.column[int(self.positions[index])]
        if entry["bytes"] is None:
            return Path(entry["path"]).open("rb")
        return io.BytesIO(entry["bytes"])

    def subset(self, indices: "np.ndarray[Any, Any]") -> "HubImages":
        """The images with the given indices."""
        return replace(super().subset(indices), positions=self.positions[indices])


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """The images of ``hfds/NAME``, where NAME is a repository or a folder.

    Downloads are kept in ``folder``; the images are not decoded yet.

    Raises:
        RequestError: the data set cannot be loaded, or lacks an image or label column.
    """
    return _list_images(data.name, folder)


def identify(name: str, folder: Path) -> ImagesIdentity:
    """The classes of the training images.

    Raises:
        RequestError: likewise.
    """
    return _list_images(name, folder).train.identity


def _list_images(name: str, folder: Path) -> DataSplits:
    try:
        return _load(name, str(folder))
    except RequestError:
        raise
    # The library raises errors of several HTTP clients and file formats.
    except Exception as error:
        raise RequestError(f"--dataset {name}: cannot be loaded: {first_line(error)}") from error


def _load(name: str, cache: str) -> DataSplits:
    try:
        from datasets import ClassLabel, Image, Value, load_dataset
    except ImportError:
        raise RequestError("--dataset hfds: not installed; run pip install datasets") from None
    source = name.partition("/")[2]
    with nullcontext() if Path(source).exists() else offline_if_unreachable():
        loaded = load_dataset(source, cache_dir=cache)
    splits = list(loaded)
    val = next((split for split in _VAL_SPLITS if split in splits), None)
    features = loaded[splits[0]].features
    images = [key for key, value in features.items() if isinstance(value, Image)]
    labels = [key for key, value in features.items() if isinstance(value, ClassLabel)]
    texts = [
        key
        for key, value in features.items()
        if key in _LABELS and isinstance(value, Value) and value.dtype in ("string", "large_string")
    ]
    if "train" not in splits or val is None or not images or not (labels or texts):
        columns = ", ".join(f"{key} ({value})" for key, value in features.items())
        raise RequestError(
            f"--dataset {name}: expected the splits train and validation with an image column and "
            f"a label column of class labels or strings; found the splits "
            f"{', '.join(splits) or 'none'} with the columns {columns or 'none'}"
        )
    label = next((key for key in _LABELS if key in labels), (labels or texts)[0])
    classes = features[label].names if labels else sorted(set(loaded["train"][label]))
    parts = []
    for split in ("train", val):
        targets = loaded[split][label]
        if not labels:
            indices = {name: index for index, name in enumerate(classes)}
            unknown = sorted(set(targets) - set(classes))
            if unknown:
                raise RequestError(f"--dataset {name}: {unknown[0]!r} is no label of train")
            targets = [indices[text] for text in targets]
        column = loaded[split].cast_column(images[0], Image(decode=False))[images[0]]
        parts.append(_split(name, split, column, np.asarray(targets), classes))
    return DataSplits(*parts)


def _split(
    name: str, split: str, column: Any, targets: "np.ndarray[Any, Any]", classes: list[str]
) -> HubImages:
    count = len(targets)
    if not count:
        raise RequestError(f"--dataset {name}: the split {split} has no images")
    if not 0 <= targets.min() <= targets.max() < len(classes):
        raise RequestError(f"--dataset {name}: the split {split} has images without labels")
    return HubImages(
        Path(name),
        np.array([f"{split}/{index}".encode() for index in range(count)]),
        torch.from_numpy(targets.astype(np.int64)),
        tuple(classes),
        torch.device("cpu"),
        column,
        np.arange(count),
    )
