"""The keys of the data settings of a preset."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lskd_cli.config.datasets import find_dataset
from lskd_cli.config.types import (
    ConfigModel,
    DatasetName,
    Fraction,
    Seed,
)

DEFAULT_IMAGE_SIZE = 32  # pixels: CIFAR-100
MIN_TEST_CROP = 0.1  # fraction of the shorter side
_Channels = Field(min_length=3, max_length=3)


def data_label(name: str, limit_train: int | None) -> str:
    """Name of a data set, with the number of training images if it is limited."""
    return name if limit_train is None else f"{name} ({limit_train:,} training images)"


class Augmentation(ConfigModel):
    """Random resized crops instead of padded crops; with a policy, timm's training transform."""

    # A RandAugment policy in timm's notation: m is the magnitude, mstd its standard deviation, inc1
    # selects operations that get stronger with the magnitude.
    policy: Annotated[str, Field(pattern=r"^rand(-[a-z]+[0-9.]+)*$")] | None = None
    interpolation: Literal["bilinear", "bicubic"]
    erasing: Annotated[float, Field(ge=0, le=1)] = 0.0  # probability of random erasing per image


class Data(ConfigModel):
    """The data set, and how a training view of an image is made."""

    name: DatasetName
    num_classes: PositiveInt | None = None  # of custom images; other data sets define it
    image_size: Annotated[int, Field(ge=8, le=1024)] = DEFAULT_IMAGE_SIZE  # input of the student
    batch_size: Annotated[int, Field(ge=2)]  # batch norms need several images
    drop_last: bool = False  # drop the last partial batch of an epoch
    # Parameters of the beta distribution of timm's mixup (arXiv:1710.09412) and cutmix
    # (arXiv:1905.04899) of each batch; 0 disables. With both, each batch gets one of them.
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    padding: Annotated[int, Field(ge=0, le=32)] = 0  # black pixels on each side before the crop
    flip: bool  # random horizontal flip with probability 0.5
    augmentation: Augmentation | None = None  # None: padded crops
    # Side of the center crop of test images as a fraction of their shorter side.
    test_crop: Annotated[float, Field(ge=MIN_TEST_CROP, le=1)] = 1.0
    mean: Annotated[list[float], _Channels]  # per channel, of images in 0..1
    std: Annotated[list[PositiveFloat], _Channels]
    seed: Seed = 0  # seed of the order and the augmentation, shared by students of a joint run
    val_split: Fraction = 0.0  # fraction of the training images held out to select the best epoch
    limit_train: PositiveInt | None = None  # size of a stratified subset of the training images

    @model_validator(mode="after")
    def _check_augmentation(self) -> "Data":
        if self.augmentation is not None and self.padding > 0:
            raise ValueError("padding: supported only without data.augmentation")
        return self

    @model_validator(mode="after")
    def _check_source(self) -> "Data":
        if self.is_custom and self.num_classes is None:
            raise ValueError(
                f"num_classes: required; --dataset {self.name} --data-dir DIR reads it from the "
                "images"
            )
        if not self.is_custom and self.num_classes is not None:
            raise ValueError(f"num_classes: only valid with custom images; {self.name} defines it")
        if self.on_disk and self.augmentation is None:
            raise ValueError("augmentation: required for images in files")
        if self.test_crop < 1 and not self.on_disk:
            raise ValueError("test_crop: only valid for images in files")
        return self

    @property
    def class_count(self) -> int:
        """Number of classes of the data set."""
        count = self.num_classes or find_dataset(self.name).num_classes
        assert count is not None  # required of custom images
        return count

    @property
    def is_mixed(self) -> bool:
        """Whether training images are mixed with other images of their batch."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def on_disk(self) -> bool:
        """Whether DataLoader workers read the images from files instead of memory."""
        return find_dataset(self.name).on_disk

    @property
    def label(self) -> str:
        """Name of the data set, with the number of training images if it is limited."""
        return data_label(self.name, self.limit_train)

    @property
    def is_custom(self) -> bool:
        """Whether the user provides the images, which define the number of classes."""
        return find_dataset(self.name).is_custom
