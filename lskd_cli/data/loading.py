"""Loading of the images that the data settings of a preset select."""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lskd_cli.config import Data, find_dataset
from lskd_cli.data.sets.file_images import FileImages, validate_files
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.data.sets.stratified import stratified_split
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress
from lskd_cli.memo import once_per_command


def count_train_images(data: Data, folder: Path) -> int:
    """Number of training images that the data settings of a preset select.

    Args:
        data: the data set, and the number or fraction of its training images to use.
        folder: folder of custom images, or their archive, which are listed, but not decoded.

    Raises:
        RequestError: custom images cannot be listed.
    """
    count = find_dataset(data.name).num_train
    if count is None:
        complete = data.model_copy(update={"val_split": 0.0, "limit_train": None})
        count = _count_listed(complete.model_dump_json(), folder)
    count -= math.ceil(data.val_split * count)
    return count if data.limit_train is None else min(count, data.limit_train)


@once_per_command
def _count_listed(settings: str, folder: Path) -> int:
    data = Data.model_validate_json(settings)
    splits: DataSplits = _module(data.name).load(data, folder, lambda *_: None)
    return len(splits.train)


def load_splits(data: Data, folder: Path, progress: Progress, skip_bad: bool = False) -> DataSplits:
    """The images that the data settings of a preset select, in CPU memory or in files.

    Args:
        data: the data set, and the fraction of training images to hold out.
        folder: contains cifar-100-python (downloaded if it is absent), imagenet/, or custom images.
        progress: called with the bytes of a download, or the number of checked images.
        skip_bad: leave out files that cannot be decoded.

    Raises:
        RequestError: a file is corrupt or cannot be read, or the classes do not match.
        RunError: the download failed.
    """
    splits: DataSplits = _module(data.name).load(data, folder, progress)
    train, test, val, notes = splits.train, splits.test, splits.val, splits.notes
    if isinstance(train, FileImages) and isinstance(test, FileImages):
        listed = len(train) + len(test)
        train, test = validate_files(folder, [train, test], progress, skip_bad)
        unreadable = listed - len(train) - len(test)
        if unreadable:
            notes = [*notes, f"unreadable images that are left out: {unreadable}"]
    _check_classes(data, train.classes, folder)
    if data.val_split > 0 and val is not None:
        raise RequestError("data.val_split: the archive has validation images; leave it out")
    if data.val_split > 0:
        train, val = stratified_split(train, data.val_split, "data.val_split")
    if data.limit_train is not None and data.limit_train < len(train):
        _, train = stratified_split(train, data.limit_train, "data.limit_train")
    return DataSplits(train, test, val, notes=[f"{folder}: {note}" for note in notes])


def identify_images(name: str, folder: Path) -> ImagesIdentity:
    """Classes and archive of images in files or of custom images, without decoding them.

    Args:
        name: imagenet, or a custom data set.
        folder: folder of the images, or the archive.

    Raises:
        RequestError: the images cannot be found, or their classes differ between the splits.
    """
    identity: ImagesIdentity = _module(name).identify(name, folder)
    return identity


@once_per_command
def identify_images_once(name: str, folder: Path) -> ImagesIdentity:
    """The same as ``identify_images``, for commands with many runs."""
    return identify_images(name, folder)


def _module(name: str) -> Any:
    return import_module(f"lskd_cli.data.sets.{find_dataset(name).module}")


def _check_classes(data: Data, classes: Sequence[str], folder: Path) -> None:
    expected, actual = data.class_count, len(classes)
    if data.is_custom and actual < 2:
        raise RequestError(f"{folder}: has one class; a classifier needs at least two")
    stripped = [name.strip() for name in classes]
    if "" in stripped:
        raise RequestError(f"{folder}: a class has an empty name")
    if len(set(stripped)) < actual:
        name = next(name for name in stripped if stripped.count(name) > 1)
        raise RequestError(f"{folder}: several classes are called {name!r}, but for spaces")
    if actual == expected:
        return
    if data.is_custom:
        raise RequestError(f"{folder}: {actual} classes, but data.num_classes is {expected}")
    raise RequestError(
        f"{folder}: {actual} classes, but {data.name} has {expected}; use --dataset imagefolder "
        "for other images"
    )
