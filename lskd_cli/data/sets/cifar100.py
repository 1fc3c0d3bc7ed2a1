"""CIFAR-100, which is downloaded if it is absent."""

import shutil
import tarfile
from pathlib import Path

import torch
from torchvision.datasets import CIFAR100

from lskd_cli.config import Data
from lskd_cli.data.sets.in_memory import InMemoryImages
from lskd_cli.data.sets.splits import DataSplits
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.download import ArchiveError, Progress, download_lock, downloaded, file_digest


def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
    """50,000 training and 10,000 test images of 32 pixels.

    Raises:
        RequestError: a file is corrupt or cannot be read.
        RunError: the download failed.
    """
    base = folder / CIFAR100.base_folder
    if not base.is_dir():
        _download(folder, progress)
    files = [*CIFAR100.train_list, *CIFAR100.test_list]
    files.append([CIFAR100.meta["filename"], CIFAR100.meta["md5"]])
    for name, md5 in files:
        path = base / name
        try:
            intact = file_digest(path, "md5") == md5
        except OSError as error:
            raise RequestError(
                f"{path}: cannot be read: {error.strerror}; remove {base} to download it again"
            ) from None
        if not intact:
            raise RequestError(
                f"{path}: corrupt (its md5 is not {md5}); remove {base} to download it again"
            )
    splits = (CIFAR100(str(folder), train=train) for train in (True, False))
    return DataSplits(
        *(
            InMemoryImages(
                torch.from_numpy(split.data), torch.tensor(split.targets), tuple(split.classes)
            )
            for split in splits
        )
    )


def _download(folder: Path, progress: Progress) -> None:
    """Unpack the archive in the folder, or a downloaded one, which is removed afterwards."""
    archive = folder / CIFAR100.filename
    with download_lock(archive):
        if (folder / CIFAR100.base_folder).is_dir():
            return  # the process that held the lock before has downloaded it
        if archive.exists():
            if file_digest(archive, "md5") != CIFAR100.tgz_md5:
                raise RunError(
                    f"{archive}: not the official archive (wrong md5); remove it to download it"
                )
            _unpack(archive, folder)
            return
        with downloaded(CIFAR100.url, archive, progress) as file:
            if file_digest(file, "md5") != CIFAR100.tgz_md5:
                raise ArchiveError(
                    f"{CIFAR100.url}: not the official archive (wrong md5); the download is removed"
                )
            _unpack(file, folder)


def _unpack(archive: Path, folder: Path) -> None:
    # Unpacked elsewhere and then renamed, so that the folder is complete or absent. The name is
    # fixed, so that the files of a killed process are removed.
    temporary = folder / f".{CIFAR100.base_folder}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        (temporary / CIFAR100.base_folder).rename(folder / CIFAR100.base_folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
