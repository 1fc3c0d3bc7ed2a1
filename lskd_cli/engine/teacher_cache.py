"""Logits of a teacher on disk, for every view that cropping and flipping can make of an image.

A training image has (2 * padding + 1)^2 crops, each mirrored or not: 162 views with CIFAR-100's
padding of 4. The logits of each are kept in half precision in one memory-mapped file, filled as
views are met, and serve every later student, seed and method of the same teacher.

A row carries its own checksum. One that was never written, or is being written by another process,
or was torn by a crash, is computed again: no lock, no list of what is there.
"""

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import Draws, Loader, num_classes, rows
from lskd_cli.engine.device import Compute
from lskd_cli.engine.teacher import Teacher
from lskd_cli.errors import RequestError, RunError
from lskd_cli.files import write_text

# What of the data has no effect on the logits of a view.
_IRRELEVANT = {"batch_size", "seed"}


class TeacherCache:
    """Looks logits up, computes and keeps what is missing."""

    def __init__(self, path: Path, teacher: Teacher, preset: Preset, images: int) -> None:
        """Open a file, or make it at its full size: a disk must not fill up during training.

        Args:
            path: of the file, from ``cache_path``.
            teacher: computes what is missing.
            preset: of any student; its data and teacher matter.
            images: in the training set.

        Raises:
            RequestError: the file is damaged, or there is no room for it.
        """
        self.teacher = teacher
        side = 2 * preset.data.padding + 1
        self.side = side
        logits = ("logits", "<f2", (num_classes(preset.data),))
        kind = np.dtype([logits, ("check", "<u4")])
        shape = (images, side * side * 2)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _make(path, kind, shape)
        try:
            self.rows = np.lib.format.open_memmap(path, mode="r+")
            fits = self.rows.dtype == kind and self.rows.shape == shape
        except (OSError, ValueError):
            fits = False
        if not fits:
            raise RequestError(f"{path}: damaged, or of other images; remove it")

    def __call__(self, loader: Loader, draws: Draws) -> Tensor:
        """(N, C) float16 logits of the weak views that the draws name, on their device.

        Raises:
            RunError: a logit is too large for half precision.
        """
        weak = {name: v for name, v in draws.items() if name == "index" or name[:5] == "weak."}
        place = (weak["weak.top"] * self.side + weak["weak.left"]) * 2 + weak["weak.flip"]
        where = weak["index"].cpu().numpy(), place.cpu().numpy()
        found = self.rows[where]
        missing = torch.from_numpy(_checks(found["logits"]) != found["check"]).nonzero()[:, 0]
        if len(missing):
            batch = loader.cut(rows(weak, missing.to(weak["index"].device)))
            computed = self.teacher(batch.views, ["weak"])["weak"].logits.half()
            if not computed.isfinite().all():
                raise RunError("--teacher-cache: logits beyond 65504; train without it")
            fresh = np.empty(len(missing), dtype=found.dtype)
            fresh["logits"] = computed.cpu().numpy()
            fresh["check"] = _checks(fresh["logits"])
            found[missing.numpy()] = fresh
            self.rows[where[0][missing.numpy()], where[1][missing.numpy()]] = fresh
        return torch.from_numpy(found["logits"].copy()).to(weak["index"].device)


def cache_path(folder: Path, source: Checkpoint, preset: Preset, compute: Compute) -> Path:
    """The file that keeps a teacher's logits; what it was made from stands beside it.

    The name holds a digest of the teacher's file, the images and the precision.

    Raises:
        RequestError: the folder cannot be written, or the file beside says something else.
    """
    data = preset.data.model_dump(exclude=_IRRELEVANT)
    made_from: dict[str, Any] = {
        "teacher": preset.teacher,
        "teacher_sha256": source.sha256,
        "data": data,
        "precision": compute.precision,
    }
    text = json.dumps(made_from, indent=2) + "\n"
    name = f"{preset.teacher}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    beside = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not beside.exists():
            write_text(beside, text)
        if beside.read_text(encoding="utf-8") != text:
            raise RequestError(f"{beside}: of another teacher or other images; remove {name}.*")
    except OSError as error:
        raise RequestError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder / f"{name}.npy"


def _make(path: Path, kind: "np.dtype[Any]", shape: tuple[int, int]) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=kind, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):  # a hole that a full disk cannot fill ends the process
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        size = kind.itemsize * shape[0] * shape[1] / 1e9
        raise RequestError(
            f"--teacher-cache: {path} needs {size:.2f} GB: {error.strerror}; make room, or train "
            "without it"
        ) from None


def _checks(logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """CRC-32 of each row; never 0 for a row of zeros, as a new file is full of them."""
    return np.fromiter((zlib.crc32(row.tobytes()) for row in logits), np.uint32, len(logits))
