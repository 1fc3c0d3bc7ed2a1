"""Folders of images, one for each class: ImageNet and custom images."""

import os
from pathlib import Path

import numpy as np
import torch

from lskd_cli.config import Data
from lskd_cli.data.sets.file_images import FolderImages, join_names
from lskd_cli.data.sets.image_formats import ImageFilter, is_hidden
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress
from lskd_cli.io.folders import walk_files


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """The images of ``train/CLASS/FILE`` and ``val/CLASS/FILE``, which are not decoded yet.

    Raises:
        RequestError: a folder is missing or empty, the classes differ, or ImageNet has another
            number of them.
    """
    folder = _root(data.name, folder)
    is_image = ImageFilter()
    train, val = (_list_images(folder / split, is_image) for split in ("train", "val"))
    if train.classes != val.classes:
        only_in_one = sorted(set(train.classes) ^ set(val.classes))
        raise RequestError(
            f"{folder}: train/ has {len(train.classes)} classes and val/ has {len(val.classes)}; "
            f"only one of them has {join_names(only_in_one)}"
        )
    return DataSplits(train, val, notes=is_image.describe())


def identify(name: str, folder: Path) -> ImagesIdentity:
    """The classes of the training images, without listing the images.

    Raises:
        RequestError: the folder does not exist, or has no subfolder.
    """
    return ImagesIdentity(tuple(class_names(_root(name, folder) / "train")))


def _root(name: str, folder: Path) -> Path:
    """The folder of train/ and val/ of a data set."""
    imagenet = folder / "imagenet"
    return imagenet if name == "imagenet" and imagenet.is_dir() else folder


def class_names(root: Path) -> list[str]:
    """Class names of an image folder: the sorted names of its subfolders.

    Raises:
        RequestError: the folder does not exist, or has no subfolder.
    """
    if not root.is_dir():
        raise RequestError(
            f"{root}: no such folder; expected train/CLASS/IMAGE and val/CLASS/IMAGE below "
            "--data-dir"
        )
    try:
        names = [entry.name for entry in root.iterdir() if entry.is_dir()]
    except OSError as error:
        raise RequestError(f"{root}: cannot be read: {error.strerror or error}") from None
    names = sorted(name for name in names if not is_hidden(name))
    if not names:
        raise RequestError(f"{root}: contains no class folder; expected {root.name}/CLASS/IMAGE")
    return names


def _list_images(root: Path, is_image: ImageFilter) -> FolderImages:
    """The images of all classes, in the order of torchvision's ``ImageFolder``."""
    classes = class_names(root)
    samples = [
        (f"{folder}/{file}", target)
        for target, name in enumerate(classes)
        for folder, files in sorted(
            (str(folder.relative_to(root)), files) for folder, files in walk_files(root / name)
        )
        for file in files
        if is_image(f"{folder}/{file}")
    ]
    used = {target for _, target in samples}
    empty = [str(root / name) for index, name in enumerate(classes) if index not in used]
    if empty:
        raise RequestError(f"{root}: {len(empty)} classes without images: {join_names(empty)}")
    files = np.array([os.fsencode(file) for file, _ in samples])
    targets = torch.tensor([target for _, target in samples])
    return FolderImages(root, files, targets, tuple(classes), torch.device("cpu"))
