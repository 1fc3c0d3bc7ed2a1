"""CIFAR-100 and the handwritten digits of scikit-learn, as tensors."""

import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets import CIFAR100

from lskd_cli.config import Data
from lskd_cli.download import Progress, digest, download
from lskd_cli.errors import RequestError, RunError

# Splits are the same in every run, whatever its seed: runs stay comparable.
_SPLIT_SEED = 0
_DIGITS_TEST_SHARE = 0.2
_CLASSES = {"cifar100": 100, "digits": 10}


@dataclass
class ImageSet:
    """Images and their classes.

    Attributes:
        images: (N, 32, 32, 3) uint8, red green blue.
        targets: (N,) int64 class indices.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> "ImageSet":
        """The same on another device."""
        return ImageSet(self.images.to(device), self.targets.to(device))


@dataclass
class Dataset:
    """The sets of one training run; ``val`` is there when a part of training is held out."""

    train: ImageSet
    test: ImageSet
    val: ImageSet | None = None

    def to(self, device: torch.device) -> "Dataset":
        """The same on another device."""
        val = self.val.to(device) if self.val else None
        return Dataset(self.train.to(device), self.test.to(device), val)


def num_classes(name: str) -> int:
    """Classes of a data set by its name in presets.

    Raises:
        RequestError: there is none of this name.
    """
    if name not in _CLASSES:
        raise RequestError(f"unknown data set {name!r}; one of {', '.join(_CLASSES)}")
    return _CLASSES[name]


def load_dataset(data: Data, folder: Path, progress: Progress) -> Dataset:
    """The sets that a preset's data asks for, on the CPU.

    Args:
        data: which images, and what share of training to hold out.
        folder: holds cifar-100-python; the archive is downloaded to it when that is absent.
        progress: told of the download.

    Raises:
        RequestError: a file is damaged or cannot be read.
        RunError: the download failed.
    """
    train, test = _LOADERS[data.name](folder, progress)
    val = None
    if data.val_split > 0:
        train, val = _split(train, data.val_split, "data.val_split")
    if data.limit_train is not None and data.limit_train < len(train):
        _, train = _split(train, data.limit_train, "data.limit_train")
    return Dataset(train, test, val)


def _cifar100(folder: Path, progress: Progress) -> tuple[ImageSet, ImageSet]:
    if not (folder / CIFAR100.base_folder).is_dir():
        _download_cifar100(folder, progress)
    for name, md5 in [*CIFAR100.train_list, *CIFAR100.test_list]:
        path = folder / CIFAR100.base_folder / name
        try:
            intact = digest(path, "md5") == md5
        except OSError as error:
            raise RequestError(
                f"{path}: cannot be read: {error.strerror}; "
                f"remove {path.parent} to download it again"
            ) from None
        if not intact:
            raise RequestError(
                f"{path}: damaged (its md5 is not {md5}); remove {path.parent} to download it again"
            )
    parts = (CIFAR100(str(folder), train=train) for train in (True, False))
    train, test = (
        ImageSet(torch.from_numpy(part.data), torch.tensor(part.targets)) for part in parts
    )
    return train, test


def _download_cifar100(folder: Path, progress: Progress) -> None:
    archive = folder / CIFAR100.filename
    if not archive.exists():
        download(CIFAR100.url, archive, progress)
    if digest(archive, "md5") != CIFAR100.tgz_md5:
        archive.unlink()
        raise RunError(f"{archive}: not the official archive (wrong md5), removed; try again")
    # Unpacked beside its place and then renamed: the folder is whole or not there.
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=folder) as temporary:
        tar.extractall(temporary, filter="data")
        (Path(temporary) / CIFAR100.base_folder).rename(folder / CIFAR100.base_folder)
    archive.unlink()


def _digits(folder: Path, progress: Progress) -> tuple[ImageSet, ImageSet]:
    """1797 images of 8x8 greys (0 to 16), enlarged bilinearly; a fifth of each class is test."""
    grey, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(grey).float().reshape(-1, 1, 8, 8) * (255 / 16)
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
    return _split(ImageSet(images, torch.from_numpy(labels).long()), _DIGITS_TEST_SHARE, "digits")


def _split(images: ImageSet, share: float, key: str) -> tuple[ImageSet, ImageSet]:
    """What remains and the share (or number) that is split off, each class in proportion."""
    try:
        kept, split_off = train_test_split(
            np.arange(len(images)),
            test_size=share,
            stratify=images.targets.numpy(),
            random_state=_SPLIT_SEED,
        )
    except ValueError as error:
        raise RequestError(f"{key}: {share} cannot be split off: {error}") from None
    kept, split_off = torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(split_off))
    return (
        ImageSet(images.images[kept], images.targets[kept]),
        ImageSet(images.images[split_off], images.targets[split_off]),
    )


_LOADERS: dict[str, Callable[[Path, Progress], tuple[ImageSet, ImageSet]]] = {
    "cifar100": _cifar100,
    "digits": _digits,
}
