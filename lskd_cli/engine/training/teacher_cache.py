"""Cache of a teacher's logits on disk, for all padded crops of the training images.

A training image has (2 * padding + 1)^2 crops, each flipped or not: 162 views with CIFAR-100's
padding of 4. Their logits are stored in half precision in one file, which is filled
as views occur, and which all later students, seeds and methods with the same teacher use. The
logits of an epoch are read at its start, so that its steps do not wait for the file.

Every row has its own checksum. A row that was never written, is being written by another process,
or was torn by a crash, is computed again; there is no lock and no list of valid rows.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lskd_cli.config import Data
from lskd_cli.data import BatchSpec, CropLoader
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.atomic import write_text
from lskd_cli.io.locks import file_lock
from lskd_cli.preprocessing import Preprocessing

# Data settings that have no effect on the logits of a view.
_IRRELEVANT = {"batch_size", "seed"}


class TeacherCache:
    """Reads cached logits, and computes and stores missing ones."""

    def __init__(
        self, path: Path, teacher: Teacher, loader: CropLoader, num_teachers: int = 1
    ) -> None:
        """Open the file, or create it with its full size, so that training cannot fill the disk.

        Args:
            path: path of the file, from ``cache_path``.
            teacher: computes missing logits.
            loader: makes the training images.
            num_teachers: number of networks whose logits ``teacher`` returns.

        Raises:
            RequestError: the file is corrupt, or the disk is too small for it.
        """
        self.teacher = teacher
        self.loader = loader
        side = 2 * loader.data.padding + 1
        self.side = side
        self.num_views = side * side * 2
        logits = ("logits", "<f2", (num_teachers * loader.data.class_count,))
        dtype: np.dtype[Any] = np.dtype([logits, ("check", "<u4")])
        self.dtype = dtype
        shape = (len(loader.images), self.num_views)
        with file_lock(path, wait=True):
            if not path.exists():
                _create(path, dtype, shape)
        try:
            self.file = path.open("r+b", buffering=0)
            version = np.lib.format.read_magic(self.file)
            header = np.lib.format.read_array_header_1_0(self.file, max_header_size=1000)
            is_valid = version == (1, 0) and header == (shape, False, dtype)
            self.start = self.file.tell()
        except OSError as error:
            raise RequestError(
                f"{path}: cannot be opened: {error.strerror}; train without --teacher-cache"
            ) from None
        except ValueError:
            is_valid = False
        if not is_valid:
            raise RequestError(f"{path}: corrupt or made from other images; remove it")

    def start_epoch(self) -> None:
        """Read the known logits of the epoch that the loader has started."""
        spec = self.loader.epoch_spec
        crop = spec.views["weak"].crop
        assert crop is not None
        view_number = (crop.top * self.side + crop.left) * 2 + crop.flip
        self.numbers = (spec.index * self.num_views + view_number).cpu().tolist()
        rows = self._read(self.numbers)
        self.is_missing = torch.from_numpy(_checksums(rows["logits"]) != rows["check"])
        self.logits = torch.from_numpy(rows["logits"].copy()).to(spec.index.device)

    def __call__(self, step: int, num_steps: int) -> Tensor:
        """(N, C) float16 logits of the weak views of some steps of the epoch, on their device.

        Missing ones are computed and stored; only then does it wait for the device.

        Raises:
            RunError: a logit is too large for half precision.
        """
        images = self.loader.positions(step, num_steps)
        missing = self.is_missing[images].nonzero()[:, 0] + images.start
        if len(missing):
            if self.logits.is_cuda:  # cuDNN would choose algorithms again for each number of images
                missing = torch.arange(images.start, images.stop)
            self._compute(missing)
        return self.logits[images]

    def _compute(self, positions: Tensor) -> None:
        """Compute and store the logits of some images of the epoch."""
        on_device = positions.to(self.logits.device)
        spec = self.loader.epoch_spec
        weak = BatchSpec(spec.index, {"weak": spec.views["weak"]}).select(on_device)
        views = self.loader.make_batch(weak).views
        computed = self.teacher(views, ["weak"])["weak"].logits.half()
        if not computed.isfinite().all():
            raise RunError("--teacher-cache: a logit exceeds 65504; train without the cache")
        self.logits[on_device] = computed
        self.is_missing[positions] = False
        rows = np.empty(len(positions), self.dtype)
        rows["logits"] = computed.cpu().numpy()
        rows["check"] = _checksums(rows["logits"])
        for position, row in zip(positions.tolist(), rows, strict=True):
            os.pwrite(self.file.fileno(), row.tobytes(), self._offset(self.numbers[position]))

    def _read(self, numbers: Sequence[int]) -> "np.ndarray[Any, Any]":
        """Rows by their numbers; zeros where the file ends earlier, because it was truncated.

        Read without a memory map: an access behind the end of one would kill the process.
        """
        size = self.dtype.itemsize
        content = b"".join(
            os.pread(self.file.fileno(), size, self._offset(number)).ljust(size, b"\0")
            for number in numbers
        )
        return np.frombuffer(bytearray(content), self.dtype)

    def _offset(self, number: int) -> int:
        size: int = self.dtype.itemsize
        return self.start + number * size


def cache_path(
    folder: Path,
    teachers: Sequence[TrainedNetwork],
    data: Data,
    precision: str,
    images: str | None,
) -> Path:
    """Path of the cache; a JSON file next to it describes its origin.

    The name contains a digest of the teacher's weights, the data settings, the precision, the
    teacher's preprocessing if it differs from the student's, and the digest of custom images.

    Raises:
        RequestError: the folder cannot be written, or the JSON file has another content.
    """
    origin: dict[str, Any] = {
        "teacher": "+".join(teacher.model for teacher in teachers),
        "teacher_sha256": "+".join(teacher.checkpoint.sha256 for teacher in teachers),
        "data": data.model_dump(exclude=_IRRELEVANT),
        "precision": precision,
    }
    own = [teacher.preprocessing for teacher in teachers]
    if any(preprocessing != Preprocessing.of_data(data) for preprocessing in own):
        origin["preprocessing"] = "+".join(preprocessing.to_json() for preprocessing in own)
    if images is not None:
        origin["images_sha256"] = images
    text = json.dumps(origin, indent=2) + "\n"
    model = origin["teacher"].replace("/", "-")
    name = f"{model}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    description = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not description.exists():
            write_text(description, text)
        if description.read_text(encoding="utf-8") != text:
            raise RequestError(
                f"{description}: describes another teacher or other images; remove {name}.*"
            )
    except OSError as error:
        raise RequestError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder / f"{name}.npy"


def _create(path: Path, dtype: "np.dtype[Any]", shape: tuple[int, int]) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape).flush()
        # Writing to a hole on a full disk would kill the process.
        if hasattr(os, "posix_fallocate"):
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        size = dtype.itemsize * shape[0] * shape[1] / 1e9
        raise RequestError(
            f"--teacher-cache: {path} needs {size:.2f} GB: {error.strerror}; free disk space, or "
            "train without the cache"
        ) from None


def _checksums(logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """CRC-32 of each row; it is not 0 for a row of zeros, of which a new file consists."""
    return np.fromiter((zlib.crc32(row.tobytes()) for row in logits), np.uint32, len(logits))
