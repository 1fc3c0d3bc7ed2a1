"""Images in files, ``train/CLASS/FILE`` and ``val/CLASS/FILE``, decoded when a batch needs them."""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes
from torchvision.transforms.v2.functional import pil_to_tensor

from lskd_cli.atomic_io import regular_file, write_text
from lskd_cli.download import Progress
from lskd_cli.errors import RequestError, RunError

_MAX_NAMES = 5  # files or classes that a message lists
_CHECK_BATCH = 256  # images that are checked between two progress reports


@dataclass
class ImageFolderImages:
    """Images in files, and their classes.

    Attributes:
        root: folder that contains one folder per class.
        files: (N,) paths below root as bytes, in one array that worker processes share.
        targets: (N,) int64 class indices.
        classes: sorted names of the class folders.
        device: device on which batches are made.
    """

    root: Path
    files: "np.ndarray[Any, np.dtype[np.bytes_]]"
    targets: Tensor
    classes: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> "ImageFolderImages":
        """The images, with batches on another device."""
        return replace(self, device=device)

    def subset(self, indices: "np.ndarray[Any, Any]") -> "ImageFolderImages":
        """The images with the given indices."""
        return replace(self, files=self.files[indices], targets=self.targets[indices])

    def load_image(self, index: int) -> Tensor:
        """One image, (3, H, W) uint8, RGB; raises what ``open_image`` raises."""
        pixels: Tensor = pil_to_tensor(self.open_image(index))
        return pixels

    def open_image(self, index: int) -> Image.Image:
        """One image in memory, RGB.

        Raises:
            RunError: the file cannot be read any more.
        """
        path = self.root / os.fsdecode(self.files[index])
        try:
            with Image.open(regular_file(path)) as image:
                return image.convert("RGB")
        # A damaged file can raise any exception.
        except Exception as error:
            raise RunError(f"{path}: cannot be read: {error}") from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file names and their classes."""
        state = hashlib.sha256(self.files.tobytes())
        state.update(json.dumps(self.classes).encode())
        state.update(self.targets.numpy().tobytes())
        return state.hexdigest()


def load_image_folders(
    folder: Path, progress: Progress, skip_bad: bool
) -> tuple[ImageFolderImages, ImageFolderImages]:
    """The training and test images of a folder; every file has been decoded once.

    Args:
        folder: contains train/ and val/ with the same classes.
        progress: called with the number of decoded images.
        skip_bad: leave out files that cannot be decoded.

    Raises:
        RequestError: a folder is missing or empty, the classes differ, or files cannot be decoded;
            with ``skip_bad``, all files of a class.
    """
    train, val = (_list_images(folder / split) for split in ("train", "val"))
    if train.classes != val.classes:
        only_in_one = sorted(set(train.classes) ^ set(val.classes))
        raise RequestError(
            f"{folder}: train/ has {len(train.classes)} classes and val/ has {len(val.classes)}; "
            f"only one of them has {_join_names(only_in_one)}"
        )
    bad = {split.root: _find_bad_images(split, progress) for split in (train, val)}
    names = [str(root / os.fsdecode(file)) for root, files in bad.items() for file in files]
    if names and not skip_bad:
        raise RequestError(
            f"{folder}: {len(names)} unreadable images: {_join_names(names)}; replace them, or "
            "leave them out with --skip-bad-images"
        )
    return _without(train, bad[train.root]), _without(val, bad[val.root])


def _without(images: ImageFolderImages, bad: set[bytes]) -> ImageFolderImages:
    """The images without unreadable ones.

    Raises:
        RequestError: a class has no image left.
    """
    if not bad:
        return images
    remaining = images.subset(~np.isin(images.files, list(bad)))
    used = set(remaining.targets.tolist())
    empty = [name for index, name in enumerate(images.classes) if index not in used]
    if empty:
        raise RequestError(
            f"{images.root}: no image of {len(empty)} classes can be read: {_join_names(empty)}"
        )
    return remaining


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


def _list_images(root: Path) -> ImageFolderImages:
    class_names(root)
    folder = ImageFolder(str(root), allow_empty=True)
    used = {target for _, target in folder.samples}
    empty = [str(root / name) for name, target in folder.class_to_idx.items() if target not in used]
    if empty:
        raise RequestError(f"{root}: {len(empty)} classes without images: {_join_names(empty)}")
    prefix = len(str(root)) + 1
    files = np.array([os.fsencode(path[prefix:]) for path, _ in folder.samples])
    targets = torch.tensor([target for _, target in folder.samples])
    return ImageFolderImages(root, files, targets, tuple(folder.classes), torch.device("cpu"))


def _find_bad_images(images: ImageFolderImages, progress: Progress) -> set[bytes]:
    """Files that cannot be decoded; files that were decoded once are not checked again."""
    cache_file = _check_cache(images)
    try:
        unchecked = [name.encode("latin-1") for name in json.loads(cache_file.read_text())]
    except (OSError, ValueError):
        unchecked = images.files.tolist()
    bad = set()
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        for start in range(0, len(unchecked), _CHECK_BATCH):
            files = unchecked[start : start + _CHECK_BATCH]
            results = threads.map(lambda file: _can_decode(images.root / os.fsdecode(file)), files)
            bad |= {file for file, is_good in zip(files, results, strict=True) if not is_good}
            progress(start + len(files), len(unchecked))
    with suppress(RunError):  # without the file, all images are checked again next time
        write_text(cache_file, json.dumps(sorted(file.decode("latin-1") for file in bad)))
    return bad


def _check_cache(images: ImageFolderImages) -> Path:
    """The file that lists which of these images cannot be decoded."""
    key = hashlib.sha256(f"{images.root.resolve()} {images.digest}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "lskd" / f"checked-{key}.json"


def _can_decode(path: Path) -> bool:
    if not path.is_file():  # a pipe would block
        return False
    try:
        with Image.open(path) as image:
            image.draft("RGB", (1, 1))  # decodes all bytes of a JPEG at 1/8 of its size
            image.load()
    # A damaged file can raise any exception.
    except Exception:
        return False
    return True


def _join_names(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
