"""Custom images in tar archives."""

from pathlib import Path

from lskd_cli.config import Data
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.reader_images import ReaderImages, reader_images
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """The images of both archives, which are not decoded yet.

    Raises:
        RequestError: an archive is missing or corrupt, or the classes differ.
    """
    return _list_images(folder)


def identify(name: str, folder: Path) -> ImagesIdentity:
    """The classes of the training images.

    Raises:
        RequestError: likewise.
    """
    return _list_images(folder).train.identity


def _list_images(folder: Path) -> DataSplits:
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
    return DataSplits(train, val)


def _read_tar(folder: Path, split: str) -> ReaderImages:
    path = folder / f"{split}.tar"
    path = path if path.exists() else folder / split
    if not path.exists():
        raise RequestError(f"{folder / split}.tar: no such archive")
    from timm.data.readers.reader_image_in_tar import ReaderImageInTar

    try:
        # Without timm's caches: open files must not be shared by workers, nor pickles be loaded.
        reader = ReaderImageInTar(str(path), cache_tarfiles=False, cache_tarinfo=False)
    # A corrupt archive can raise any exception.
    except Exception as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    names = sorted(reader.class_name_to_idx, key=reader.class_name_to_idx.__getitem__)
    files = [reader.filename(index) for index in range(len(reader))]
    return reader_images(path, reader, files, reader.targets, names)
