"""The published teachers: names, sources and digests."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# 364 MB; all rows of the benchmark were run with these teachers.
ARCHIVE_URL = (
    "https://github.com/megvii-research/mdistiller/releases/download/checkpoints/cifar_teachers.tar"
)


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


@dataclass(frozen=True)
class ImageNetTeacher:
    """Weights that torchvision publishes.

    Attributes:
        name: name of the network, the same as in torchvision.
        weights_name: torchvision's name of the weights.
    """

    name: str
    weights_name: str

    @property
    def weights(self) -> "WeightsEnum":
        """Torchvision's entry of the weights."""
        from torchvision.models import get_weight

        return get_weight(self.weights_name)

    @property
    def url(self) -> str:
        """URL of the file."""
        return str(self.weights.url)

    @property
    def file_name(self) -> str:
        """Published name of the file."""
        return self.url.rpartition("/")[2]

    @property
    def digest_prefix(self) -> str:
        """First digits of the file's SHA-256, which its name contains."""
        match = re.search(r"-([0-9a-f]{8,})\.pth$", self.file_name)
        assert match is not None, self.file_name
        return match[1]

    @property
    def top1(self) -> float:
        """Published top-1 accuracy in percent."""
        return float(self.weights.meta["_metrics"]["ImageNet-1K"]["acc@1"])

    def path(self, folder: Path) -> Path:
        """Path of the converted file in a checkpoints folder."""
        return folder / f"imagenet-{self.name}.safetensors"


IMAGENET = {
    teacher.name: teacher
    for teacher in (
        ImageNetTeacher("resnet34", "ResNet34_Weights.IMAGENET1K_V1"),
        ImageNetTeacher("resnet50", "ResNet50_Weights.IMAGENET1K_V1"),
    )
}
