"""Download and conversion of the published CIFAR-100 teachers."""

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lskd_cli.checkpoints import Checkpoint, read_pickled_weights, save_checkpoint
from lskd_cli.config import load_preset
from lskd_cli.download import Progress, download, download_lock, file_digest
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import create_model

# 364 MB; all rows of the benchmark were run with these teachers.
ARCHIVE_URL = (
    "https://github.com/megvii-research/mdistiller/releases/download/checkpoints/cifar_teachers.tar"
)
_DATASET, _NUM_CLASSES = "cifar100", 100


class ArchiveError(RunError):
    """The archive has a wrong content, so a retry with the same file would fail too."""


@dataclass(frozen=True)
class PublishedTeacher:
    """One member of the archive.

    Attributes:
        name: name of the network.
        sha256: SHA-256 of the member, if it is known. The publisher of the archive lists none; that
            of resnet32x4 is the one that several public reproductions pin.
    """

    name: str
    sha256: str | None = None

    @property
    def member(self) -> str:
        """Path of the member in the archive."""
        return f"cifar_teachers/{self.name}_vanilla/ckpt_epoch_240.pth"

    def path(self, folder: Path) -> Path:
        """Path of the converted file in a checkpoints folder."""
        return folder / f"{self.name}.safetensors"


CATALOGUE = {
    teacher.name: teacher
    for teacher in (
        PublishedTeacher("resnet56"),
        PublishedTeacher("resnet110"),
        PublishedTeacher(
            "resnet32x4",
            sha256="22aa12e2b632b19ddde155ccf2388671842ddd304824b3095e0a7fff364beb4f",
        ),
        PublishedTeacher("ResNet50"),
        PublishedTeacher("wrn_40_2"),
        PublishedTeacher("vgg13"),
    )
}


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
    teachers = [CATALOGUE[name] for name in names]
    if not source.startswith(("http://", "https://", "ftp://")):
        archive = Path(source)
        if not archive.is_file():
            raise RequestError(f"--from {source}: neither a URL nor a file")
        return _convert(teachers, archive, checkpoints_dir, source, sha256)
    archive = checkpoints_dir / "cifar_teachers.tar"
    with download_lock(archive):
        # The process that held the lock before may have stored them.
        missing = [t for t in teachers if fresh or not t.path(checkpoints_dir).exists()]
        if missing:
            _fetch_archive(missing, archive, checkpoints_dir, source, sha256, progress)
    return [teacher.path(checkpoints_dir) for teacher in teachers]


def _fetch_archive(
    teachers: Sequence[PublishedTeacher],
    archive: Path,
    checkpoints_dir: Path,
    source: str,
    sha256: str | None,
    progress: Progress,
) -> None:
    """Download the archive unless it exists, convert the teachers, and remove the download."""
    is_downloaded = not archive.exists()
    if is_downloaded:
        try:
            download(source, archive, progress)
        except RunError as error:
            raise RunError(f"{error} (--from takes a mirror or a local copy)") from None
    try:
        _convert(teachers, archive, checkpoints_dir, source, sha256)
    except ArchiveError:
        if is_downloaded:
            archive.unlink()  # a damaged archive would prevent the next attempt
        raise
    if is_downloaded:
        archive.unlink()


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
) -> list[Path]:
    _check_digest(archive, sha256, str(archive))
    stored = []
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory() as temporary:
            members = {}
            for member in tar:
                # Raises an error for members outside the folder; the real archive has none.
                tarfile.data_filter(member, temporary)
                members[member.name] = member
            for teacher in teachers:
                if teacher.member not in members:
                    raise ArchiveError(f"{archive}: has no member {teacher.member}")
                tar.extract(members[teacher.member], temporary, filter="data")
                pickled = Path(temporary) / teacher.member
                stored.append(_store(teacher, pickled, checkpoints_dir, source))
    except tarfile.FilterError as error:
        raise ArchiveError(f"{archive}: refused: {error}") from None
    except (tarfile.TarError, EOFError) as error:
        reason = str(error).partition("\n")[0].removesuffix(":")
        raise ArchiveError(f"{archive}: not a complete tar archive: {reason}") from None
    return stored


def _store(teacher: PublishedTeacher, pickled: Path, checkpoints_dir: Path, source: str) -> Path:
    sha256 = _check_digest(pickled, teacher.sha256, teacher.member)
    try:
        weights = read_pickled_weights(pickled)
        Checkpoint(pickled, weights, {}).check_shapes(
            teacher.name, create_model(teacher.name, _NUM_CLASSES)
        )
    except RequestError as error:
        raise ArchiveError(str(error).replace(str(pickled), teacher.member)) from None
    published = load_preset(f"teacher-{teacher.name}", allow_unknown_method=True).published.top1
    metadata = {
        "model": teacher.name,
        "num_classes": str(_NUM_CLASSES),
        "dataset": _DATASET,
        "top1": f"{published:.2f}",
        "source": source,
        "sha256": sha256,
    }
    path = teacher.path(checkpoints_dir)
    save_checkpoint(path, weights, metadata)
    return path
