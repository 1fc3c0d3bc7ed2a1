"""Data sets: CIFAR-100 and scikit-learn's digits, ImageNet, and custom images."""

import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision.datasets import CIFAR100

from lskd_cli.config import DEFAULT_IMAGE_SIZE, Data
from lskd_cli.data.sets.file_images import FileImages, check_images
from lskd_cli.data.sets.image_folder import class_names, list_csv, list_image_folders
from lskd_cli.data.sets.in_memory import ImagesIdentity, InMemoryImages
from lskd_cli.data.sets.npz_file import find_npz, load_npz
from lskd_cli.data.sets.reader_images import HUB_PREFIX, list_hub_dataset, list_tar
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.download import ArchiveError, Progress, download_lock, downloaded, file_digest

# All runs have the same splits, whatever their seed, so that they can be compared.
_SPLIT_SEED = 0
_DIGITS_TEST_FRACTION = 0.2
_NUM_CLASSES = {"cifar100": 100, "digits": 10, "imagenet": 1000}


Images = InMemoryImages | FileImages
AnyImages = TypeVar("AnyImages", bound=Images)


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


def num_classes(data: Data) -> int:
    """Number of classes of a data set."""
    return data.num_classes or _NUM_CLASSES[data.name]


def load_splits(data: Data, folder: Path, progress: Progress, skip_bad: bool = False) -> DataSplits:
    """The images that the data settings of a preset select, in CPU memory or in files.

    Args:
        data: the data set, and the fraction of training images to hold out.
        folder: contains cifar-100-python (downloaded if it is absent), imagenet/, or images of
            one's own.
        progress: called with the bytes of a download, or the number of checked images.
        skip_bad: leave out files that cannot be decoded.

    Raises:
        RequestError: a file is corrupt or cannot be read, or the classes do not match.
        RunError: the download failed.
    """
    train: Images
    test: Images
    val: Images | None = None
    if data.on_disk:
        train, test = _from_files(data, folder, progress, skip_bad)
    elif data.name == "npz":
        splits = load_npz(find_npz(folder))
        train, test, val = splits["train"], splits["test"], splits.get("val")
        _check_num_classes(data, len(train.classes), folder)
    else:
        train, test = _LOADERS[data.name](data, folder, progress)
    if data.val_split > 0 and val is not None:
        raise RequestError("data.val_split: the archive has validation images; leave it out")
    if data.val_split > 0:
        train, val = _split(train, data.val_split, "data.val_split")
    if data.limit_train is not None and data.limit_train < len(train):
        _, train = _split(train, data.limit_train, "data.limit_train")
    return DataSplits(train, test, val)


def image_folder(name: str, folder: Path) -> Path:
    """The folder of train/ and val/ of a data set in files."""
    imagenet = folder / "imagenet"
    return imagenet if name == "imagenet" and imagenet.is_dir() else folder


def identify_images(name: str, folder: Path) -> ImagesIdentity:
    """Classes and archive of images in files or of one's own, without decoding them.

    Args:
        name: imagenet, or a custom data set.
        folder: folder of the images, or the archive.

    Raises:
        RequestError: the images cannot be found, or their classes differ between the splits.
    """
    if name == "npz":
        return load_npz(find_npz(folder))["train"].identity
    if name in ("imagenet", "imagefolder"):
        return ImagesIdentity(tuple(class_names(image_folder(name, folder) / "train")))
    return list_own_images(name, folder)[0].identity


def list_own_images(name: str, folder: Path) -> tuple[FileImages, FileImages]:
    """The training and test images of a data set in files, which are not decoded yet.

    Raises:
        RequestError: files are missing, or the classes of the splits differ.
    """
    if name == "csv":
        return list_csv(folder)
    if name == "tar":
        return list_tar(folder)
    if name.startswith(HUB_PREFIX):
        return list_hub_dataset(name, folder)
    return list_image_folders(folder)


def _from_files(
    data: Data, folder: Path, progress: Progress, skip_bad: bool
) -> tuple[FileImages, FileImages]:
    folder = image_folder(data.name, folder)
    train, test = check_images(folder, list_own_images(data.name, folder), progress, skip_bad)
    actual, expected = len(train.classes), num_classes(data)
    if actual != expected and data.name == "imagenet":
        raise RequestError(
            f"{folder}: {actual} classes, but ImageNet has {expected}; use --dataset imagefolder "
            "for other images"
        )
    _check_num_classes(data, actual, folder)
    return train, test


def _check_num_classes(data: Data, actual: int, folder: Path) -> None:
    if actual != data.num_classes and data.is_own:
        raise RequestError(
            f"{folder}: {actual} classes, but data.num_classes is {data.num_classes}"
        )


def _cifar100(
    data: Data, folder: Path, progress: Progress
) -> tuple[InMemoryImages, InMemoryImages]:
    base = folder / CIFAR100.base_folder
    if not base.is_dir():
        _download_cifar100(folder, progress)
    files = [*CIFAR100.train_list, *CIFAR100.test_list]
    files.append([CIFAR100.meta["filename"], CIFAR100.meta["md5"]])
    for name, md5 in files:
        path = base / name
        try:
            intact = file_digest(path, "md5") == md5
        except OSError as error:
            raise RequestError(
                f"{path}: cannot be read: {error.strerror}; remove {base} to download it again"
            ) from None
        if not intact:
            raise RequestError(
                f"{path}: corrupt (its md5 is not {md5}); remove {base} to download it again"
            )
    splits = (CIFAR100(str(folder), train=train) for train in (True, False))
    train, test = (
        InMemoryImages(
            torch.from_numpy(split.data), torch.tensor(split.targets), tuple(split.classes)
        )
        for split in splits
    )
    return train, test


def _download_cifar100(folder: Path, progress: Progress) -> None:
    """Unpack the archive in the folder, or a downloaded one, which is removed afterwards."""
    archive = folder / CIFAR100.filename
    with download_lock(archive):
        if (folder / CIFAR100.base_folder).is_dir():
            return  # the process that held the lock before has downloaded it
        if archive.exists():
            if file_digest(archive, "md5") != CIFAR100.tgz_md5:
                raise RunError(
                    f"{archive}: not the official archive (wrong md5); remove it to download it"
                )
            _unpack_cifar100(archive, folder)
            return
        with downloaded(CIFAR100.url, archive, progress) as file:
            if file_digest(file, "md5") != CIFAR100.tgz_md5:
                raise ArchiveError(
                    f"{CIFAR100.url}: not the official archive (wrong md5); the download is removed"
                )
            _unpack_cifar100(file, folder)


def _unpack_cifar100(archive: Path, folder: Path) -> None:
    # Unpacked elsewhere and then renamed, so that the folder is complete or absent. The name is
    # fixed, so that the files of a killed process are removed.
    temporary = folder / f".{CIFAR100.base_folder}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        (temporary / CIFAR100.base_folder).rename(folder / CIFAR100.base_folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digits(data: Data, folder: Path, progress: Progress) -> tuple[InMemoryImages, InMemoryImages]:
    """1797 gray images of 8x8 pixels (0 to 16), resized bilinearly; 20 % of each class is test.

    Padded crops need images of ``data.image_size``; other augmentation enlarges them itself.
    """
    gray, labels = load_digits(return_X_y=True)
    size = data.image_size if data.augmentation is None else DEFAULT_IMAGE_SIZE
    small = torch.from_numpy(gray).float().reshape(-1, 1, 8, 8) * (255 / 16)
    large = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
    names = tuple(str(digit) for digit in range(10))
    digits = InMemoryImages(images, torch.from_numpy(labels).long(), names)
    return _split(digits, _DIGITS_TEST_FRACTION, "digits")


def _split(images: AnyImages, size: float, key: str) -> tuple[AnyImages, AnyImages]:
    """A stratified split: the remaining images, and a fraction or number of them."""
    try:
        remaining, selected = train_test_split(
            np.arange(len(images)),
            test_size=size,
            stratify=images.targets.numpy(),
            random_state=_SPLIT_SEED,
        )
    except ValueError as error:
        raise RequestError(f"{key}: cannot split off {size} of the images: {error}") from None
    splits = images.subset(np.sort(remaining)), images.subset(np.sort(selected))
    return splits  # type: ignore[return-value]


_LOADERS: dict[str, Callable[[Data, Path, Progress], tuple[InMemoryImages, InMemoryImages]]] = {
    "cifar100": _cifar100,
    "digits": _digits,
}
