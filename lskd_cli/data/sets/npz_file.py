"""Images in one NumPy archive with the keys of MedMNIST (arXiv:2110.14795)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lskd_cli.config import Data
from lskd_cli.data.sets.in_memory import ImagesIdentity, InMemoryImages
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file
from lskd_cli.io.download import Progress, file_digest

_SPLITS = ("train", "val", "test")


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """The splits of the archive.

    Raises:
        RequestError: there is no such archive, or it cannot be read.
    """
    splits = load_npz(find_npz(folder))
    return DataSplits(splits["train"], splits["test"], splits.get("val"))


def identify(name: str, folder: Path) -> ImagesIdentity:
    """Classes, digest and size of the images.

    Raises:
        RequestError: there is no such archive, or it cannot be read.
    """
    return load_npz(find_npz(folder))["train"].identity


def find_npz(path: Path) -> Path:
    """The archive itself, or the only one of a folder.

    Raises:
        RequestError: there is none, or more than one.
    """
    if path.suffix == ".npz":
        return path
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        raise RequestError(
            f"--data-dir {path}: contains {len(found)} files *.npz; give the file itself"
        )
    return found[0]


def load_npz(path: Path) -> dict[str, InMemoryImages]:
    """The splits of an archive: train, test and, if it has one, val.

    It contains SPLIT_images, (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8 with H = W, and
    SPLIT_labels, (N,) or (N, 1) class indices from 0. Gray images become RGB.

    Raises:
        RequestError: the file cannot be read, or its arrays have other shapes or types.
    """
    try:
        loaded = np.load(regular_file(path), allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("not a NumPy archive")
        with loaded as archive:
            keys = [key for key in archive.files if key.startswith(_SPLITS)]
            arrays = {key: np.asarray(archive[key]) for key in keys}
    # A corrupt file can raise any exception.
    except Exception as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    splits = {}
    for split in _SPLITS:
        if split == "val" and "val_images" not in arrays:
            continue
        for key in (f"{split}_images", f"{split}_labels"):
            if key not in arrays:
                raise RequestError(f"{path}: contains no {key}")
        images = _rgb(arrays[f"{split}_images"], f"{path}: {split}_images")
        labels = _class_indices(arrays[f"{split}_labels"], f"{path}: {split}_labels")
        if len(images) != len(labels) or len(images) == 0:
            raise RequestError(f"{path}: {split}: {len(images)} images and {len(labels)} labels")
        splits[split] = (images, labels)
    count = 1 + max(int(labels.max()) for _, labels in splits.values())
    absent = sorted(set(range(count)) - set(splits["train"][1].tolist()))
    if absent:
        raise RequestError(
            f"{path}: class indices must be 0 to {count - 1}, but train_labels has no image of "
            f"class {absent[0]} ({len(absent)} classes are missing)"
        )
    digest = file_digest(path)
    names = tuple(str(number) for number in range(count))
    return {
        split: InMemoryImages(torch.from_numpy(images), torch.from_numpy(labels), names, digest)
        for split, (images, labels) in splits.items()
    }


def _rgb(images: "np.ndarray[Any, Any]", name: str) -> "np.ndarray[Any, Any]":
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    is_gray = images.ndim == 3
    shape = images.shape
    if images.dtype != np.uint8 or not (is_gray or (images.ndim == 4 and shape[3] == 3)):
        raise RequestError(
            f"{name}: expected (N, H, W) or (N, H, W, 3) uint8, not {shape} {images.dtype}"
        )
    if shape[1] != shape[2]:
        raise RequestError(f"{name}: images must be square, not {shape[1]} x {shape[2]}")
    return np.ascontiguousarray(np.repeat(images[..., None], 3, axis=3) if is_gray else images)


def _class_indices(labels: "np.ndarray[Any, Any]", name: str) -> "np.ndarray[Any, Any]":
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise RequestError(
            f"{name}: expected one class index for each image, not {labels.shape} {labels.dtype}"
        )
    if len(labels) and (labels.min() < 0 or labels.max() > 100_000):
        raise RequestError(f"{name}: class indices must be between 0 and 100000")
    return labels.astype(np.int64)
