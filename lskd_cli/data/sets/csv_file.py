"""Custom images that CSV files list with their labels."""

import csv
import os
from pathlib import Path

import numpy as np
import torch

from lskd_cli.config import Data
from lskd_cli.data.sets.file_images import FolderImages, join_names
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file
from lskd_cli.io.download import Progress
from lskd_cli.io.folders import exists
from lskd_cli.io.printable import shorten

_PATH_COLUMNS = ("path", "image", "file", "filename")
_LABEL_COLUMN = "label"
_SEPARATORS = (",", ";", "\t")
_MAX_LINE = 1 << 16  # characters of the header


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """The listed images, which are not decoded yet.

    Raises:
        RequestError: a file cannot be read or lacks a column, or val.csv has other labels.
    """
    return _list_images(folder)


def identify(name: str, folder: Path) -> ImagesIdentity:
    """The classes of the training images.

    Raises:
        RequestError: likewise.
    """
    return _list_images(folder).train.identity


def _list_images(folder: Path) -> DataSplits:
    """The images that ``train.csv`` and ``val.csv`` of a folder list.

    Each file has a column ``path`` (or image, file, filename), relative to the folder, and a column
    ``label``. The classes are the labels of train.csv in alphabetical order.
    """
    train, val = (_read_csv(folder / f"{split}.csv") for split in ("train", "val"))
    classes = sorted({label for _, label in train})
    unknown = sorted({label for _, label in val} - set(classes))
    if unknown:
        raise RequestError(
            f"{folder / 'val.csv'}: {len(unknown)} labels that train.csv does not have: "
            f"{join_names(unknown)}"
        )
    indices = {name: index for index, name in enumerate(classes)}
    sets = [
        FolderImages(
            folder,
            np.array([os.fsencode(path) for path, _ in rows]),
            torch.tensor([indices[label] for _, label in rows]),
            tuple(classes),
            torch.device("cpu"),
        )
        for rows in (train, val)
    ]
    return DataSplits(*sets)


def _read_csv(path: Path) -> list[tuple[str, str]]:
    """Path and label of every row, without spaces around them.

    The separator is a comma, a semicolon or a tab.
    """
    try:
        with regular_file(path).open(encoding="utf-8-sig", newline="") as file:
            header = file.readline(_MAX_LINE)
            separator = max(_SEPARATORS, key=header.count)
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=separator, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    if not rows:
        raise RequestError(f"{path}: contains no images")
    columns = {str(name).strip().lower(): name for name in rows[0]}
    column = next((name for name in _PATH_COLUMNS if name in columns), None)
    if column is None or _LABEL_COLUMN not in columns:
        raise RequestError(
            f"{path}: expected the columns path and label; found {', '.join(map(repr, columns))}"
        )
    pairs, missing = [], []
    for line, row in enumerate(rows, start=2):
        name, label = row[columns[column]], row[columns[_LABEL_COLUMN]]
        if not name or not label or not name.strip() or not label.strip():
            raise RequestError(f"{path}: line {line}: the path or the label is empty")
        name = name.strip()
        if "\\" in name and not exists(path.parent / name):
            name = name.replace("\\", "/")  # of Windows
        if not exists(path.parent / name):
            missing.append(shorten(name))
        pairs.append((name, label.strip()))
    if missing:
        raise RequestError(f"{path}: files that do not exist: {join_names(missing)}")
    return pairs
