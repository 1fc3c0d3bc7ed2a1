"""Images of one's own in single files: folders of classes, and CSV files of paths and labels."""

import csv
import os
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes

from lskd_cli.data.sets.file_images import FolderImages, join_names
from lskd_cli.errors import RequestError

_PATH_COLUMNS = ("path", "image", "file", "filename")
_LABEL_COLUMN = "label"


def list_image_folders(folder: Path) -> tuple[FolderImages, FolderImages]:
    """The training and test images of ``train/CLASS/FILE`` and ``val/CLASS/FILE``.

    Raises:
        RequestError: a folder is missing or empty, or the classes differ.
    """
    train, val = (_list_images(folder / split) for split in ("train", "val"))
    if train.classes != val.classes:
        only_in_one = sorted(set(train.classes) ^ set(val.classes))
        raise RequestError(
            f"{folder}: train/ has {len(train.classes)} classes and val/ has {len(val.classes)}; "
            f"only one of them has {join_names(only_in_one)}"
        )
    return train, val


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
        names: list[str] = find_classes(str(root))[0]
    except OSError as error:
        raise RequestError(f"{root}: cannot be read: {error.strerror or error}") from None
    return names


def _list_images(root: Path) -> FolderImages:
    class_names(root)
    folder = ImageFolder(str(root), allow_empty=True)
    used = {target for _, target in folder.samples}
    empty = [str(root / name) for name, target in folder.class_to_idx.items() if target not in used]
    if empty:
        raise RequestError(f"{root}: {len(empty)} classes without images: {join_names(empty)}")
    prefix = len(str(root)) + 1
    files = np.array([os.fsencode(path[prefix:]) for path, _ in folder.samples])
    targets = torch.tensor([target for _, target in folder.samples])
    return FolderImages(root, files, targets, tuple(folder.classes), torch.device("cpu"))


def list_csv(folder: Path) -> tuple[FolderImages, FolderImages]:
    """The images that ``train.csv`` and ``val.csv`` of a folder list.

    Each file has a column ``path`` (or image, file, filename), relative to the folder, and a column
    ``label``. The classes are the labels of train.csv in alphabetical order.

    Raises:
        RequestError: a file cannot be read or lacks a column, or val.csv has other labels.
    """
    train, val = (_read_csv(folder / f"{split}.csv") for split in ("train", "val"))
    classes = sorted({label for _, label in train})
    unknown = sorted({label for _, label in val} - set(classes))
    if unknown:
        raise RequestError(
            f"{folder / 'val.csv'}: {len(unknown)} labels that train.csv does not have: "
            f"{join_names(unknown)}"
        )
    index = {name: number for number, name in enumerate(classes)}
    sets = [
        FolderImages(
            folder,
            np.array([os.fsencode(path) for path, _ in rows]),
            torch.tensor([index[label] for _, label in rows]),
            tuple(classes),
            torch.device("cpu"),
        )
        for rows in (train, val)
    ]
    return sets[0], sets[1]


def _read_csv(path: Path) -> list[tuple[str, str]]:
    """Path and label of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    if not rows:
        raise RequestError(f"{path}: contains no images")
    column = next((name for name in _PATH_COLUMNS if name in rows[0]), None)
    if column is None or _LABEL_COLUMN not in rows[0]:
        raise RequestError(f"{path}: expected the columns path and label")
    pairs = []
    for number, row in enumerate(rows, start=2):
        name, label = row[column], row[_LABEL_COLUMN]
        if not name or not label:
            raise RequestError(f"{path}: line {number}: the path or the label is empty")
        pairs.append((name, label))
    return pairs
