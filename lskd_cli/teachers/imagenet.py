"""The ImageNet teachers: torchvision's IMAGENET1K_V1 weights, a file each."""

import re
from dataclasses import dataclass
from pathlib import Path

from torchvision.models import ResNet34_Weights, ResNet50_Weights, WeightsEnum

from lskd_cli.checkpoints import Checkpoint, read_pickled_weights, save_checkpoint
from lskd_cli.download import Progress, digest, download
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import create_model
from lskd_cli.teachers.cifar import ArchiveError

_CLASSES = 1000


@dataclass(frozen=True)
class ImageNetTeacher:
    """Weights that torchvision publishes.

    Attributes:
        name: of the network, here as there.
        weights: torchvision's entry for them.
    """

    name: str
    weights: WeightsEnum

    @property
    def url(self) -> str:
        """Of the file."""
        return str(self.weights.url)

    @property
    def file_name(self) -> str:
        """Of the file, as published."""
        return self.url.rpartition("/")[2]

    @property
    def digest_start(self) -> str:
        """The first digits of the file's sha256, which its name holds."""
        found = re.search(r"-([0-9a-f]{8,})\.pth$", self.file_name)
        assert found is not None, self.file_name
        return found[1]

    @property
    def top1(self) -> float:
        """Published top-1 accuracy in percent."""
        return float(self.weights.meta["_metrics"]["ImageNet-1K"]["acc@1"])

    def path(self, folder: Path) -> Path:
        """Its file in a checkpoints folder."""
        return folder / f"imagenet-{self.name}.safetensors"


IMAGENET = {
    teacher.name: teacher
    for teacher in (
        ImageNetTeacher("resnet34", ResNet34_Weights.IMAGENET1K_V1),
        ImageNetTeacher("resnet50", ResNet50_Weights.IMAGENET1K_V1),
    )
}


def fetch_imagenet(name: str, folder: Path, source: str | None, progress: Progress) -> Path:
    """Store a teacher as ``folder/imagenet-NAME.safetensors``.

    Args:
        name: of ``IMAGENET``.
        folder: of the checkpoints; a broken download stays in it, to be gone on with.
        source: in place of torchvision's address: a mirror's or a folder that holds the files by
            their published names, or one file.
        progress: told of the download.

    Raises:
        RequestError: a local file does not exist.
        RunError: the download failed, or the file is not what its name says.
    """
    teacher = IMAGENET[name]
    address = _address(teacher, source)
    if not address.startswith(("http://", "https://", "ftp://")):
        if not Path(address).is_file():
            raise RequestError(f"--from {source}: {address} is neither a URL nor a file")
        return _store(teacher, Path(address), folder, address)
    pickled = folder / teacher.file_name
    try:
        if not pickled.exists():
            download(address, pickled, progress)
    except RunError as error:
        raise RunError(f"{error} (--from takes a mirror or a local copy)") from None
    try:
        stored = _store(teacher, pickled, folder, address)
    except ArchiveError:
        pickled.unlink()  # it would be in the way of the next try
        raise
    pickled.unlink()
    return stored


def _address(teacher: ImageNetTeacher, source: str | None) -> str:
    if source is None:
        return teacher.url
    is_one = source.endswith(".pth") or Path(source).is_file()
    return source if is_one else f"{source.rstrip('/')}/{teacher.file_name}"


def _store(teacher: ImageNetTeacher, pickled: Path, folder: Path, address: str) -> Path:
    found = digest(pickled)
    if not found.startswith(teacher.digest_start):
        raise ArchiveError(
            f"{address}: sha256 is {found}, {teacher.file_name} has one that starts with "
            f"{teacher.digest_start}; not used"
        )
    try:
        weights = read_pickled_weights(pickled)
        network = create_model(teacher.name, _CLASSES)
        Checkpoint(pickled, weights, {}).check(teacher.name, network)
    except RequestError as error:
        raise ArchiveError(str(error).replace(str(pickled), address)) from None
    metadata = {
        "model": teacher.name,
        "num_classes": str(_CLASSES),
        "dataset": "imagenet",
        "top1": f"{teacher.top1:.2f}",
        "source": address,
        "sha256": found,
    }
    save_checkpoint(teacher.path(folder), weights, metadata)
    return teacher.path(folder)
