"""Data sets of the Hugging Face Hub, or local folders in its layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lskd_cli.config import Data
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.reader_images import ReaderImages, reader_images
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress

_VAL_SPLITS = ("validation", "val", "valid", "test")
_LABELS = ("label", "labels", "fine_label")


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """The images of ``hfds/NAME``, where NAME is a repository or a folder.

    Downloads are kept in ``folder``; the images are not decoded yet.

    Raises:
        RequestError: the data set cannot be loaded, or lacks an image or class column.
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
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RequestError(f"--dataset {name}: cannot be loaded: {reason}") from error


def _load(name: str, cache: str) -> DataSplits:
    try:
        from datasets import ClassLabel, Image, load_dataset
        from timm.data.readers.reader_hfds import ReaderHfds
    except ImportError:
        raise RequestError(
            "--dataset hfds: datasets is not installed; pip install 'lskd-cli[hfds]'"
        ) from None
    source = name.partition("/")[2]
    loaded = load_dataset(source, cache_dir=cache)
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
    return DataSplits(
        *(
            _split(name, ReaderHfds(source, cache, split, **keys), features[label].names)
            for split in ("train", val)
        )
    )


def _split(name: str, reader: Any, classes: Sequence[str]) -> ReaderImages:
    targets = np.asarray(reader.dataset[reader.label_key])
    if len(targets) and not 0 <= targets.min() <= targets.max() < len(classes):
        raise RequestError(f"--dataset {name}: the split {reader.split} has images without labels")
    files = [f"{reader.split}/{index}" for index in range(len(reader))]
    return reader_images(Path(name), reader, files, targets, classes)
