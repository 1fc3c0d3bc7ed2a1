"""Images in files, ``train/CLASS/FILE`` and ``val/CLASS/FILE``, read when a batch needs them."""

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

from lskd_cli.download import Progress
from lskd_cli.errors import RequestError, RunError
from lskd_cli.files import write_text

_NAMED = 5  # bad images or empty classes that a message names
_AT_ONCE = 256  # images that are checked between two reports


@dataclass
class FolderSet:
    """Images in files and their classes.

    Attributes:
        root: folder of the classes' folders.
        files: (N,) paths below root as bytes: one array, which worker processes share.
        targets: (N,) int64 class indices.
        classes: names of the classes' folders, sorted.
        device: where batches are wanted.
    """

    root: Path
    files: "np.ndarray[Any, np.dtype[np.bytes_]]"
    targets: Tensor
    classes: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> "FolderSet":
        """The same, for batches on another device."""
        return replace(self, device=device)

    def take(self, places: "np.ndarray[Any, Any]") -> "FolderSet":
        """Some of the images."""
        return replace(self, files=self.files[places], targets=self.targets[places])

    def pixels(self, index: int) -> Tensor:
        """(3, H, W) uint8, red green blue.

        Raises:
            RunError: the file cannot be read any more.
        """
        path = self.root / os.fsdecode(self.files[index])
        try:
            with Image.open(path) as image:
                pixels: Tensor = pil_to_tensor(image.convert("RGB"))
        # A damaged file can fail in any way.
        except Exception as error:
            raise RunError(f"{path}: cannot be read: {error}") from None
        return pixels

    @cached_property
    def digest(self) -> str:
        """Tells whether these are the same files in the same classes."""
        state = hashlib.sha256(self.files.tobytes())
        state.update(json.dumps(self.classes).encode())
        state.update(self.targets.numpy().tobytes())
        return state.hexdigest()


def load_folders(folder: Path, progress: Progress, skip_bad: bool) -> tuple[FolderSet, FolderSet]:
    """The training and test images of a folder, every file of which has been decoded once.

    Args:
        folder: holds train/ and val/, both with the same classes.
        progress: told of the images that have been decoded.
        skip_bad: leave files out that cannot be decoded.

    Raises:
        RequestError: a folder is missing or empty, the classes differ, or files cannot be decoded.
    """
    train, val = (_listed(folder / part) for part in ("train", "val"))
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise RequestError(
            f"{folder}: train has {len(train.classes)} classes, val {len(val.classes)}; "
            f"{_some(odd)} only in one of them"
        )
    bad = {part.root: _undecodable(part, progress) for part in (train, val)}
    names = [str(root / os.fsdecode(file)) for root, files in bad.items() for file in files]
    if names and not skip_bad:
        raise RequestError(
            f"{folder}: {len(names)} unreadable images: {_some(names)}; "
            "replace them, or leave them out with --skip-bad-images"
        )
    return _without(train, bad[train.root]), _without(val, bad[val.root])


def class_names(root: Path) -> list[str]:
    """The classes of the images in a folder: the names of the folders in it, sorted.

    Raises:
        RequestError: there is no such folder, or none in it.
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


def _listed(root: Path) -> FolderSet:
    class_names(root)
    found = ImageFolder(str(root), allow_empty=True)
    full = {target for _, target in found.samples}
    empty = [str(root / name) for name, target in found.class_to_idx.items() if target not in full]
    if empty:
        raise RequestError(f"{root}: {len(empty)} classes without images: {_some(empty)}")
    prefix = len(str(root)) + 1
    files = np.array([os.fsencode(path[prefix:]) for path, _ in found.samples])
    targets = torch.tensor([target for _, target in found.samples])
    return FolderSet(root, files, targets, tuple(found.classes), torch.device("cpu"))


def _undecodable(images: FolderSet, progress: Progress) -> set[bytes]:
    """Files that cannot be decoded; those that could once are not tried again."""
    remembered = _memory(images)
    try:
        suspects = [name.encode("latin-1") for name in json.loads(remembered.read_text())]
    except (OSError, ValueError):
        suspects = images.files.tolist()
    bad = set()
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        for start in range(0, len(suspects), _AT_ONCE):
            files = suspects[start : start + _AT_ONCE]
            good = threads.map(lambda file: _decodes(images.root / os.fsdecode(file)), files)
            bad |= {file for file, is_good in zip(files, good, strict=True) if not is_good}
            progress(start + len(files), len(suspects))
    with suppress(RunError):  # without it, all are tried again next time
        write_text(remembered, json.dumps(sorted(file.decode("latin-1") for file in bad)))
    return bad


def _memory(images: FolderSet) -> Path:
    """The file that remembers which of these images could not be decoded."""
    key = hashlib.sha256(f"{images.root.resolve()} {images.digest}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "lskd" / f"checked-{key}.json"


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (1, 1))  # a JPEG's smallest size: all its bytes, an eighth the work
            image.load()
    # A damaged file can fail in any way.
    except Exception:
        return False
    return True


def _without(images: FolderSet, bad: set[bytes]) -> FolderSet:
    return images.take(~np.isin(images.files, list(bad))) if bad else images


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
