"""Images that are decoded when a batch needs them, and the check that all can be decoded."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lskd_cli.data.sets.image_formats import open_image, to_rgb
from lskd_cli.data.sets.in_memory import ImagesIdentity
from lskd_cli.errors import RequestError, RunError, first_line
from lskd_cli.io.atomic import regular_file, write_text
from lskd_cli.io.cache import cache_folder
from lskd_cli.io.download import Progress

_MAX_NAMES = 5  # files or classes that a message lists
_CHECK_BATCH = 256  # images that are checked between two progress reports

AnyFileImages = TypeVar("AnyFileImages", bound="FileImages")


@dataclass
class FileImages(ABC):
    """Images in files, and their classes.

    Attributes:
        root: folder or archive of the images.
        files: (N,) names of the images in it as bytes, in one array that worker processes share.
        targets: (N,) int64 class indices.
        classes: names of the classes.
        device: device on which batches are made.
    """

    root: Path
    files: "np.ndarray[Any, np.dtype[np.bytes_]]"
    targets: Tensor
    classes: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.targets)

    def to(self: AnyFileImages, device: torch.device) -> AnyFileImages:
        """The images, with batches on another device."""
        return replace(self, device=device)

    def subset(self: AnyFileImages, indices: "np.ndarray[Any, Any]") -> AnyFileImages:
        """The images with the given indices."""
        return replace(self, files=self.files[indices], targets=self.targets[indices])

    @property
    def identity(self) -> ImagesIdentity:
        """Classes of these images."""
        return ImagesIdentity(self.classes)

    @abstractmethod
    def open_file(self, index: int) -> IO[bytes]:
        """The encoded image, as a file that the caller closes.

        Raises:
            OSError: the file does not exist any more, or is not a regular file.
        """

    def name(self, index: int) -> str:
        """Path of an image, for messages."""
        return str(self.root / os.fsdecode(self.files[index]))

    def load_image(self, index: int) -> Tensor:
        """One image, (3, H, W) uint8, RGB; raises what ``open_image`` raises."""
        pixels: Tensor = pil_to_tensor(self.open_image(index))
        return pixels

    def open_image(self, index: int) -> Image.Image:
        """One image in memory, RGB.

        Raises:
            RunError: the file cannot be read any more.
        """
        try:
            with self.open_file(index) as file, open_image(file) as image:
                return to_rgb(image)
        # A corrupt file can raise any exception.
        except Exception as error:
            raise RunError(f"{self.name(index)}: cannot be read: {error}") from None

    def problem(self, index: int) -> str | None:
        """Why an image cannot be used; JPEG files are decoded at 1/8 of their size."""
        try:
            with self.open_file(index) as file, open_image(file) as image:
                image.draft("RGB", (1, 1))
                to_rgb(image)
        # A corrupt file can raise any exception.
        except Exception as error:
            return first_line(error)
        return None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file names and their classes."""
        state = hashlib.sha256(self.files.tobytes())
        state.update(json.dumps(self.classes).encode())
        state.update(self.targets.numpy().tobytes())
        return state.hexdigest()


@dataclass
class FolderImages(FileImages):
    """Images in single files below a folder."""

    def open_file(self, index: int) -> IO[bytes]:
        return regular_file(self.root / os.fsdecode(self.files[index])).open("rb")


def validate_files(
    source: Path, sets: Iterable[AnyFileImages], progress: Progress, skip_bad: bool
) -> list[AnyFileImages]:
    """Decode every image once, and leave out those that cannot be decoded.

    Args:
        source: folder or archive that the user has given, for messages.
        sets: training and test images.
        progress: called with the number of decoded images.
        skip_bad: leave out images that cannot be decoded.

    Raises:
        RequestError: images cannot be decoded; with ``skip_bad``, all images of a class.
    """
    sets = list(sets)
    bad = [_find_bad_images(images, progress) for images in sets]
    names = [(images, i) for images, found in zip(sets, bad, strict=True) for i in found]
    if names and not skip_bad:
        images, first = min(names, key=lambda item: item[0].name(item[1]))
        listed = join_names(images.name(index) for images, index in names)
        raise RequestError(
            f"{source}: {len(names)} unreadable images: {listed} ({images.problem(first)}); "
            "replace them, or leave them out with --skip-bad-images"
        )
    return [_without(images, found) for images, found in zip(sets, bad, strict=True)]


def _without(images: AnyFileImages, bad: list[int]) -> AnyFileImages:
    """The images without unreadable ones.

    Raises:
        RequestError: a class has no image left.
    """
    if not bad:
        return images
    remaining = images.subset(np.setdiff1d(np.arange(len(images)), bad))
    used = set(remaining.targets.tolist())
    before = set(images.targets.tolist())
    empty = [images.classes[index] for index in sorted(before - used)]
    if empty:
        raise RequestError(
            f"{images.root}: no image of {len(empty)} classes can be read: {join_names(empty)}"
        )
    return remaining


def _find_bad_images(images: FileImages, progress: Progress) -> list[int]:
    """Images that cannot be decoded; images that were decoded once are not checked again."""
    cache_file = _check_cache(images)
    try:
        known = [name.encode("latin-1") for name in json.loads(cache_file.read_text())]
        unchecked = np.isin(images.files, known).nonzero()[0].tolist()
    except (OSError, ValueError, TypeError, AttributeError):
        unchecked = list(range(len(images)))
    bad = []
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        for start in range(0, len(unchecked), _CHECK_BATCH):
            batch = unchecked[start : start + _CHECK_BATCH]
            problems = threads.map(images.problem, batch)
            bad += [index for index, problem in zip(batch, problems, strict=True) if problem]
            progress(start + len(batch), len(unchecked))
    names = sorted(images.files[index].decode("latin-1") for index in bad)
    with suppress(RunError):  # without the file, all images are checked again next time
        write_text(cache_file, json.dumps(names))
    return bad


def _check_cache(images: FileImages) -> Path:
    """The file that lists which of these images cannot be decoded."""
    key = hashlib.sha256(os.fsencode(f"{images.root.resolve()} {images.digest}")).hexdigest()[:16]
    return cache_folder() / f"checked-{key}.json"


def join_names(names: Iterable[str]) -> str:
    """The first names in alphabetical order, and the number of the others."""
    names = sorted(names)
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
