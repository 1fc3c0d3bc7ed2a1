"""Download and conversion of the ImageNet teachers: torchvision's IMAGENET1K_V1 weights."""

from pathlib import Path

from lskd_cli.io.download import ArchiveError, Progress, download_lock, file_digest, public_url
from lskd_cli.models.pretrained import preprocessing_from_torchvision
from lskd_cli.teachers.archive import store_teacher, use_source
from lskd_cli.teachers.catalogue import IMAGENET, ImageNetTeacher

_NUM_CLASSES = 1000


def fetch_imagenet(
    name: str, checkpoints_dir: Path, source: str | None, progress: Progress, fresh: bool = False
) -> Path:
    """Store a teacher as ``checkpoints_dir/imagenet-NAME.safetensors``.

    Args:
        name: name of ``IMAGENET``.
        checkpoints_dir: folder of the teachers; a partial download stays here until it is resumed.
        source: replaces torchvision's URL: a mirror or a folder that contains the files under their
            published names, or one file.
        progress: progress of the download.
        fresh: replace a file that another process has stored in the meantime.

    Raises:
        RequestError: a local file does not exist.
        RunError: the download failed, or the file does not match the digest in its name.
    """
    teacher = IMAGENET[name]
    path, address = teacher.path(checkpoints_dir), _address(teacher, source)
    # Other processes wait here; the one that held the lock before may have stored the file.
    with download_lock(path):
        if fresh or not path.exists():
            use_source(
                address,
                checkpoints_dir / teacher.file_name,
                progress,
                lambda pickled: _store(teacher, pickled, path, address),
            )
    return path


def _address(teacher: ImageNetTeacher, source: str | None) -> str:
    if source is None:
        return teacher.url
    is_file = source.endswith(".pth") or Path(source).is_file()
    return source if is_file else f"{source.rstrip('/')}/{teacher.file_name}"


def _store(teacher: ImageNetTeacher, pickled: Path, path: Path, address: str) -> None:
    actual, label = file_digest(pickled), public_url(address)
    if not actual.startswith(teacher.digest_prefix):
        raise ArchiveError(
            f"{label}: sha256 is {actual}, but that of {teacher.file_name} starts with "
            f"{teacher.digest_prefix}; not used"
        )
    metadata = {
        "dataset": "imagenet",
        "top1": f"{teacher.top1:.2f}",
        "source": address,
        "sha256": actual,
        "preprocessing": preprocessing_from_torchvision(teacher.weights.transforms()).to_json(),
    }
    store_teacher(path, teacher.name, _NUM_CLASSES, pickled, label, metadata)
