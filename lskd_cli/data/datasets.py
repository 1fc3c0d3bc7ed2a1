"""CIFAR-100 and the handwritten digits of scikit-learn, as tensors; folders of images."""

import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets import CIFAR100

from lskd_cli.config import Data
from lskd_cli.data.folder import FolderSet, load_folders
from lskd_cli.download import Progress, digest, download
from lskd_cli.errors import RequestError, RunError

# Splits are the same in every run, whatever its seed: runs stay comparable.
_SPLIT_SEED = 0
_DIGITS_TEST_SHARE = 0.2
_CLASSES = {"cifar100": 100, "digits": 10, "imagenet": 1000}


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

    @property
    def device(self) -> torch.device:
        """Where the images are and batches are made."""
        return self.targets.device

    def to(self, device: torch.device) -> "ImageSet":
        """The same on another device."""
        return ImageSet(self.images.to(device), self.targets.to(device))

    def take(self, places: "np.ndarray[Any, Any]") -> "ImageSet":
        """Some of the images."""
        chosen = torch.from_numpy(places)
        return ImageSet(self.images[chosen], self.targets[chosen])

    def pixels(self, index: int) -> Tensor:
        """(3, H, W) uint8 of one image."""
        return self.images[index].permute(2, 0, 1)


Images = ImageSet | FolderSet
AnyImages = TypeVar("AnyImages", bound=Images)


@dataclass
class Dataset:
    """The sets of one training run; ``val`` is there when a part of training is held out."""

    train: Images
    test: Images
    val: Images | None = None

    def to(self, device: torch.device) -> "Dataset":
        """The same on another device."""
        val = self.val.to(device) if self.val else None
        return Dataset(self.train.to(device), self.test.to(device), val)


def num_classes(data: Data) -> int:
    """Classes of the images of a preset."""
    return data.num_classes or _CLASSES[data.name]


def load_dataset(data: Data, folder: Path, progress: Progress, skip_bad: bool = False) -> Dataset:
    """The sets that a preset's data asks for, in the memory of the CPU or in their files.

    Args:
        data: which images, and what share of training to hold out.
        folder: holds cifar-100-python, and the archive is downloaded to it when that is absent; or
            train and val of an image folder; or imagenet with those.
        progress: told of the bytes of a download, or of the images that are checked.
        skip_bad: leave files out that cannot be decoded.

    Raises:
        RequestError: a file is damaged or cannot be read, or the classes are others.
        RunError: the download failed.
    """
    train: Images
    test: Images
    if data.on_disk:
        train, test = _from_folder(data, folder, progress, skip_bad)
    else:
        train, test = _LOADERS[data.name](folder, progress)
    val = None
    if data.val_split > 0:
        train, val = _split(train, data.val_split, "data.val_split")
    if data.limit_train is not None and data.limit_train < len(train):
        _, train = _split(train, data.limit_train, "data.limit_train")
    return Dataset(train, test, val)


def image_folder(data: Data, folder: Path) -> Path:
    """Where train and val of a data set in files are, below a folder of data sets."""
    own = folder / "imagenet"
    return own if data.name == "imagenet" and own.is_dir() else folder


def _from_folder(
    data: Data, folder: Path, progress: Progress, skip_bad: bool
) -> tuple[FolderSet, FolderSet]:
    folder = image_folder(data, folder)
    train, test = load_folders(folder, progress, skip_bad)
    found, expected = len(train.classes), num_classes(data)
    if found != expected and data.name == "imagenet":
        raise RequestError(
            f"{folder}: {found} classes, ImageNet has {expected}; "
            "--dataset imagefolder takes any other folder"
        )
    if found != expected:
        raise RequestError(f"{folder}: {found} classes, data.num_classes says {expected}")
    return train, test


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


def _split(images: AnyImages, share: float, key: str) -> tuple[AnyImages, AnyImages]:
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
    return images.take(np.sort(kept)), images.take(np.sort(split_off))  # type: ignore[return-value]


_LOADERS: dict[str, Callable[[Path, Progress], tuple[ImageSet, ImageSet]]] = {
    "cifar100": _cifar100,
    "digits": _digits,
}
