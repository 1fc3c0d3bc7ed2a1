"""Custom images in tar archives."""

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch

from lskd_cli.config import Data
from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.image_formats import ImageFilter
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError, first_line
from lskd_cli.io.atomic import regular_file
from lskd_cli.io.download import Progress

_MAX_LINKS = 40  # in a chain
_GZIP = b"\x1f\x8b"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass
class TarImages(FileImages):
    """Images in one or several archives.

    Attributes:
        archives: (N,) path of the archive of each image.
        offsets: (N,) position of the encoded image in its archive, in bytes.
        sizes: (N,) its length in bytes.
    """

    archives: "np.ndarray[Any, Any]"
    offsets: "np.ndarray[Any, Any]"
    sizes: "np.ndarray[Any, Any]"

    def open_file(self, index: int) -> IO[bytes]:
        with regular_file(Path(str(self.archives[index]))).open("rb") as archive:
            archive.seek(int(self.offsets[index]))
            return io.BytesIO(archive.read(int(self.sizes[index])))

    def subset(self, indices: "np.ndarray[Any, Any]") -> "TarImages":
        """The images with the given indices."""
        part = super().subset(indices)
        return replace(
            part,
            archives=self.archives[indices],
            offsets=self.offsets[indices],
            sizes=self.sizes[indices],
        )


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
    """
    is_image = ImageFilter()
    train, val = (_read_split(folder, split, is_image) for split in ("train", "val"))
    if train.classes != val.classes:
        raise RequestError(
            f"{folder}: the archives of train and val have different classes "
            f"({len(train.classes)} and {len(val.classes)})"
        )
    return DataSplits(train, val, notes=is_image.describe())


def _read_split(folder: Path, split: str, is_image: ImageFilter) -> TarImages:
    path = folder / f"{split}.tar"
    archives = [path] if path.exists() else sorted((folder / split).glob("*.tar"))
    if not archives:
        compressed = [p for p in folder.glob(f"{split}.*") if p.name.endswith(_COMPRESSED)]
        reason = f"{compressed[0].name} is compressed; decompress it" if compressed else "no file"
        raise RequestError(f"{path}: no such archive ({reason})")
    is_single = archives == [path]
    found = [
        (PurePosixPath(name).parent.name if is_single else archive.stem, name, archive, start, size)
        for archive in archives
        for name, start, size in _members(archive, is_image)
    ]
    if not found:
        raise RequestError(f"{path if is_single else folder / split}: contains no images")
    classes = tuple(sorted({name for name, *_ in found}))
    indices = {name: index for index, name in enumerate(classes)}
    # As in a folder: class by class, and sorted by name within each.
    found.sort(key=lambda member: (member[0], member[1]))
    names = [name if is_single else f"{label}/{name}" for label, name, *_ in found]
    return TarImages(
        path if is_single else folder / split,
        np.array([name.encode("utf-8", "surrogateescape") for name in names]),
        torch.tensor([indices[label] for label, *_ in found]),
        classes,
        torch.device("cpu"),
        np.array([str(archive) for _, _, archive, _, _ in found]),
        np.array([start for *_, start, _ in found]),
        np.array([size for *_, size in found]),
    )


def _members(path: Path, is_image: ImageFilter) -> Iterator[tuple[str, int, int]]:
    """Name, position and size of the images of an archive, links to others included.

    Raises:
        RequestError: the archive is compressed, truncated or corrupt.
    """
    files: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    try:
        end = regular_file(path).stat().st_size
        with path.open("rb") as file:
            if file.read(2) == _GZIP:
                raise RequestError(f"{path}: is compressed with gzip; decompress it")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.size < 0:
                        raise RequestError(f"{path}: corrupt: {member.name} has a negative size")
                    if member.offset_data + member.size > end:
                        raise RequestError(f"{path}: truncated: {member.name} ends after the file")
                    name = posixpath.normpath(member.name)
                    if member.isfile():
                        files[name] = member.offset_data, member.size
                        if is_image(member.name.removeprefix("./")):
                            yield member.name, member.offset_data, member.size
                    elif member.islnk():
                        links[name] = posixpath.normpath(member.linkname)
                    elif member.issym():
                        target = posixpath.join(posixpath.dirname(name), member.linkname)
                        links[name] = posixpath.normpath(target)
                _check_end(path, file, archive.offset)
    except RequestError:
        raise
    # tarfile raises other errors too for corrupt headers.
    except Exception as error:
        raise RequestError(f"{path}: cannot be read: {first_line(error)}") from None
    for name in links:
        target = _resolve(name, links)
        # A link that leads nowhere is an image that cannot be read, as in a folder.
        if (target in files or posixpath.splitext(name)[1]) and is_image(name):
            yield name, *files.get(target, (0, 0))


def _check_end(path: Path, file: IO[bytes], end: int) -> None:
    """Check that nothing but zeros, at least one block of them, follows the last member.

    tarfile takes a corrupt header for the end of an archive.
    """
    file.seek(end)
    rest = file.read(tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE:
        raise RequestError(f"{path}: truncated: its end is missing")
    while rest:
        if any(rest):
            raise RequestError(
                f"{path}: corrupt, or several archives in one file: what follows byte {end:,} is "
                "not a member"
            )
        rest = file.read(1 << 20)


def _resolve(path: str, links: Mapping[str, str]) -> str:
    """A path in an archive without links; any path if they form a circle."""
    for _ in range(_MAX_LINKS):
        parts = path.split("/")
        heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        link = next((head for head in heads if head in links), None)
        if link is None:
            break
        path = posixpath.normpath(links[link] + path.removeprefix(link))
    return path
