"""Images that timm's readers open: tar archives, and data sets of the Hugging Face Hub."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from timm.data.readers.reader_image_in_tar import ReaderImageInTar

from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.errors import RequestError

HUB_PREFIX = "hfds/"
_VAL_SPLITS = ("validation", "val", "valid", "test")
_LABELS = ("label", "labels", "fine_label")


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


def list_tar(folder: Path) -> tuple[ReaderImages, ReaderImages]:
    """The images of ``train.tar`` and ``val.tar``, which contain a folder for each class.

    ``train/`` and ``val/`` may instead contain a tar archive for each class.

    Raises:
        RequestError: an archive is missing or corrupt, or the classes differ.
    """
    train, val = (_read_tar(folder, split) for split in ("train", "val"))
    if train.classes != val.classes:
        raise RequestError(
            f"{folder}: the archives of train and val have different classes "
            f"({len(train.classes)} and {len(val.classes)})"
        )
    return train, val


def _read_tar(folder: Path, split: str) -> ReaderImages:
    path = folder / f"{split}.tar"
    path = path if path.exists() else folder / split
    if not path.exists():
        raise RequestError(f"{folder / split}.tar: no such archive")
    try:
        # Without timm's caches: open files must not be shared by workers, nor pickles be loaded.
        reader = ReaderImageInTar(str(path), cache_tarfiles=False, cache_tarinfo=False)
    # A corrupt archive can raise any exception.
    except Exception as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    names = sorted(reader.class_name_to_idx, key=reader.class_name_to_idx.__getitem__)
    files = [reader.filename(index) for index in range(len(reader))]
    return _images(path, reader, files, reader.targets, names)


def list_hub_dataset(name: str, cache: Path) -> tuple[ReaderImages, ReaderImages]:
    """The images of a data set of the Hugging Face Hub, or of a local folder in its layout.

    Args:
        name: ``hfds/NAME``, where NAME is a repository or a folder.
        cache: folder of downloaded data sets.

    Raises:
        RequestError: the data set cannot be loaded, or lacks an image or class column.
    """
    try:
        from datasets import ClassLabel, Image, load_dataset
        from timm.data.readers.reader_hfds import ReaderHfds
    except ImportError:
        raise RequestError(
            "--dataset hfds: datasets is not installed; pip install 'lskd-cli[hfds]'"
        ) from None
    source = name.removeprefix(HUB_PREFIX)

    def load() -> tuple[ReaderImages, ReaderImages]:
        loaded = load_dataset(source, cache_dir=str(cache))
        splits = list(loaded)
        val = next((split for split in _VAL_SPLITS if split in splits), None)
        features = loaded[splits[0]].features
        images = [key for key, value in features.items() if isinstance(value, Image)]
        labels = [key for key, value in features.items() if isinstance(value, ClassLabel)]
        if "train" not in splits or val is None or not images or not labels:
            raise RequestError(
                f"--dataset {name}: expected the splits train and validation with an image and a "
                f"class label; found the splits {', '.join(splits) or 'none'} with the columns "
                f"{', '.join(features) or 'none'}"
            )
        label = next((key for key in _LABELS if key in labels), labels[0])
        keys = {"input_key": images[0], "target_key": label}
        train, test = (
            _of_hub(name, ReaderHfds(source, str(cache), split, **keys), features[label].names)
            for split in ("train", val)
        )
        return train, test

    return _load_or_refuse(name, load)


def _load_or_refuse(
    name: str, load: Callable[[], tuple[ReaderImages, ReaderImages]]
) -> tuple[ReaderImages, ReaderImages]:
    try:
        return load()
    except RequestError:
        raise
    # The library raises errors of several HTTP clients and file formats.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RequestError(f"--dataset {name}: cannot be loaded: {reason}") from error


def _of_hub(name: str, reader: Any, classes: Sequence[str]) -> ReaderImages:
    targets = np.asarray(reader.dataset[reader.label_key])
    if len(targets) and not 0 <= targets.min() <= targets.max() < len(classes):
        raise RequestError(f"--dataset {name}: the split {reader.split} has images without labels")
    files = [f"{reader.split}/{index}" for index in range(len(reader))]
    return _images(Path(name), reader, files, targets, classes)


def _images(
    root: Path, reader: Any, files: Sequence[str], targets: Any, classes: Sequence[str]
) -> ReaderImages:
    return ReaderImages(
        root,
        np.array([name.encode() for name in files]),
        torch.from_numpy(np.asarray(targets, dtype=np.int64)),
        tuple(classes),
        torch.device("cpu"),
        reader,
        np.arange(len(files)),
    )
