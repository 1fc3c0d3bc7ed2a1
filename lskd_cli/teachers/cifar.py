"""Download and conversion of the published CIFAR-100 teachers."""

import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lskd_cli.config import load_preset
from lskd_cli.errors import RequestError, RunError, first_line
from lskd_cli.io.download import ArchiveError, Progress, download_lock, file_digest
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.teachers.archive import store_teacher, use_source
from lskd_cli.teachers.catalogue import CATALOGUE, PublishedTeacher

_DATASET, _NUM_CLASSES = "cifar100", 100
_ARCHIVE, _UNPACKED = "cifar_teachers.tar", ".cifar_teachers"
_MAX_MEMBER_SIZE = 1 << 30  # bytes; the largest published member has about 100 MB


def fetch(
    names: Sequence[str],
    checkpoints_dir: Path,
    source: str,
    sha256: str | None,
    progress: Progress,
    fresh: bool = False,
) -> list[Path]:
    """Store published teachers as ``checkpoints_dir/NAME.safetensors``.

    Args:
        names: names of the catalogue.
        checkpoints_dir: folder of the teachers; a partial download stays here until it is resumed.
        source: URL or local path of the archive.
        sha256: required SHA-256 of the archive, or None.
        progress: progress of the download.
        fresh: replace files that another process has stored in the meantime.

    Returns:
        The paths of the files.

    Raises:
        RequestError: a name or the local path does not exist.
        RunError: the download failed, or the archive has a wrong content. Files that were stored
            before are kept, and none is incomplete.
    """
    for name in names:
        if name not in CATALOGUE:
            raise RequestError(f"unknown teacher {name!r}; choose from {', '.join(CATALOGUE)}")
    # Other processes wait here; the one that held the lock before may have stored the teachers.
    with download_lock(checkpoints_dir / _ARCHIVE):
        teachers = [CATALOGUE[name] for name in names]
        missing = [t for t in teachers if fresh or not t.path(checkpoints_dir).exists()]
        if missing:
            use_source(
                source,
                checkpoints_dir / _ARCHIVE,
                progress,
                lambda archive: _convert(missing, archive, checkpoints_dir, source, sha256),
            )
    return [teacher.path(checkpoints_dir) for teacher in teachers]


def _check_digest(file: Path, expected: str | None, label: str) -> str:
    actual = file_digest(file)
    if expected is not None and actual != expected.lower():
        raise ArchiveError(f"{label}: sha256 is {actual}, expected {expected.lower()}; not used")
    return actual


def _convert(
    teachers: Sequence[PublishedTeacher],
    archive: Path,
    checkpoints_dir: Path,
    source: str,
    sha256: str | None,
) -> None:
    _check_digest(archive, sha256, str(archive))
    # A fixed name under the lock, so that the files of a killed process are removed next time.
    folder = checkpoints_dir / _UNPACKED
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        for teacher, pickled in _unpack(teachers, archive, folder):
            digest = _check_digest(pickled, teacher.sha256, teacher.member)
            preset = load_preset(f"teacher-{teacher.name}", allow_unknown_method=True)
            metadata = {
                "dataset": _DATASET,
                "top1": f"{preset.published.top1:.2f}",
                "source": source,
                "sha256": digest,
                "preprocessing": Preprocessing.of_data(preset.data).to_json(),
            }
            path = teacher.path(checkpoints_dir)
            store_teacher(path, teacher.name, _NUM_CLASSES, pickled, teacher.member, metadata)
            pickled.unlink()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(
    teachers: Sequence[PublishedTeacher], archive: Path, folder: Path
) -> Iterator[tuple[PublishedTeacher, Path]]:
    """Unpack the file of each teacher; nothing else of the archive is written.

    Raises:
        ArchiveError: the archive cannot be read, or a member is missing or not as published.
        OSError: the disk is full.
    """
    with _archive_errors(archive), tarfile.open(archive) as tar:
        members: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            # Raises an error for members outside the folder; the real archive has none.
            tarfile.data_filter(member, str(folder))
            if member.size > _MAX_MEMBER_SIZE:
                raise ArchiveError(f"{archive}: {member.name} is larger than 1 GiB")
            members[member.name] = member
    for teacher in teachers:
        file = folder / f"{teacher.name}.pth"
        with _archive_errors(archive), tarfile.open(archive) as tar:
            info = members.get(teacher.member)
            if info is None:
                raise ArchiveError(f"{archive}: has no member {teacher.member}")
            content = tar.extractfile(info) if info.isreg() else None
            if content is None:
                raise ArchiveError(f"{archive}: {teacher.member} is not a regular file")
            with file.open("wb") as target:
                shutil.copyfileobj(content, target)
        yield teacher, file


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    """Report every failure of reading as an ``ArchiveError``."""
    try:
        yield
    except tarfile.FilterError as error:
        raise ArchiveError(f"{archive}: refused: {error}") from None
    except (RunError, MemoryError):
        raise
    # A corrupt archive can raise any exception. Only errors of the system have a number.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = first_line(error).removesuffix(":")
        raise ArchiveError(f"{archive}: not a complete tar archive: {reason}") from None
