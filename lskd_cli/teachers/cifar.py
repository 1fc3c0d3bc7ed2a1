"""The published CIFAR-100 teachers: where they are, and how they become files of ours."""

import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lskd_cli.checkpoints import Checkpoint, read_pickled_weights, save_checkpoint
from lskd_cli.config import load_preset
from lskd_cli.download import Progress, digest, download
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import create_model

# 364 MB; the teachers that every row of the benchmark was run with.
ARCHIVE_URL = (
    "https://github.com/megvii-research/mdistiller/releases/download/checkpoints/cifar_teachers.tar"
)
_DATASET, _CLASSES = "cifar100", 100


class ArchiveError(RunError):
    """The archive is not what it should be: another try with the same file would fail too."""


@dataclass(frozen=True)
class PublishedTeacher:
    """One member of the archive.

    Attributes:
        name: of the network.
        sha256: of the member, where it is known. The archive's publisher lists none; resnet32x4's
            is the one that several public reproductions pin for the file of the benchmark's first
            publisher.
    """

    name: str
    sha256: str | None = None

    @property
    def member(self) -> str:
        """Its path in the archive."""
        return f"cifar_teachers/{self.name}_vanilla/ckpt_epoch_240.pth"

    def path(self, folder: Path) -> Path:
        """Its file in a checkpoints folder."""
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
    folder: Path,
    source: str,
    sha256: str | None,
    progress: Progress,
    stored: Callable[[Path], None],
) -> None:
    """Store published teachers as ``folder/NAME.safetensors``.

    Args:
        names: of the catalogue.
        folder: of the checkpoints; a broken download stays in it, to be gone on with.
        source: URL or local path of the archive.
        sha256: what the archive must have, if given.
        progress: told of the download.
        stored: told of each file.

    Raises:
        RequestError: a name or the local path does not exist.
        RunError: the download failed, or the archive is not what it should be. Files that were
            stored before stay; none is half there.
    """
    for name in names:
        if name not in CATALOGUE:
            raise RequestError(f"unknown teacher {name!r}; one of {', '.join(CATALOGUE)}")
    is_remote = source.startswith(("http://", "https://", "ftp://"))
    archive = folder / "cifar_teachers.tar" if is_remote else Path(source)
    is_ours = is_remote and not archive.exists()
    if is_ours:
        try:
            download(source, archive, progress)
        except RunError as error:
            raise RunError(f"{error} (--from takes a mirror or a local copy)") from None
    elif not archive.is_file():
        raise RequestError(f"--from {source}: neither a URL nor a file")
    try:
        _check(archive, sha256)
        _convert([CATALOGUE[name] for name in names], archive, folder, source, stored)
    except ArchiveError:
        if is_ours:
            archive.unlink()  # damaged, it would be in the way of the next try
        raise
    if is_ours:
        archive.unlink()


def _check(file: Path, sha256: str | None, what: str | None = None) -> str:
    found = digest(file)
    if sha256 is not None and found != sha256.lower():
        raise ArchiveError(
            f"{what or file}: sha256 is {found}, expected {sha256.lower()}; not used"
        )
    return found


def _convert(
    teachers: Sequence[PublishedTeacher],
    archive: Path,
    folder: Path,
    source: str,
    stored: Callable[[Path], None],
) -> None:
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory() as temporary:
            members = {}
            for member in tar:
                # Raises for members that would land outside; none such is in the real archive.
                tarfile.data_filter(member, temporary)
                members[member.name] = member
            for teacher in teachers:
                if teacher.member not in members:
                    raise ArchiveError(f"{archive}: has no member {teacher.member}")
                tar.extract(members[teacher.member], temporary, filter="data")
                stored(_store(teacher, Path(temporary) / teacher.member, folder, source))
    except tarfile.FilterError as error:
        raise ArchiveError(f"{archive}: refused: {error}") from None
    except (tarfile.TarError, EOFError) as error:
        reason = str(error).partition("\n")[0].removesuffix(":")
        raise ArchiveError(f"{archive}: not a whole tar archive: {reason}") from None


def _store(teacher: PublishedTeacher, pickled: Path, folder: Path, source: str) -> Path:
    sha256 = _check(pickled, teacher.sha256, what=teacher.member)
    try:
        weights = read_pickled_weights(pickled)
        Checkpoint(pickled, weights, {}).check(teacher.name, create_model(teacher.name, _CLASSES))
    except RequestError as error:
        raise ArchiveError(str(error).replace(str(pickled), teacher.member)) from None
    published = load_preset(f"teacher-{teacher.name}").published.top1
    metadata = {
        "model": teacher.name,
        "num_classes": str(_CLASSES),
        "dataset": _DATASET,
        "top1": f"{published:.2f}",
        "source": source,
        "sha256": sha256,
    }
    save_checkpoint(teacher.path(folder), weights, metadata)
    return teacher.path(folder)
