"""The data sets: what is known of each without its images.

``lskd_cli.data.sets.MODULE`` loads the images. Adding a data set takes such a module and a line
here.
"""

import re
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from lskd_cli.errors import RequestError


@dataclass(frozen=True)
class Dataset:
    """A data set, or a format of custom images.

    Attributes:
        module: name of the module that loads the images.
        num_classes: number of classes; None for custom images, which define it.
        num_train: number of training images; None for custom images.
        on_disk: whether DataLoader workers read the images from files instead of memory.
        is_embedded: whether the images belong to an installed package, and need no download.
    """

    module: str
    num_classes: int | None = None
    num_train: int | None = None
    on_disk: bool = False
    is_embedded: bool = False

    @property
    def is_custom(self) -> bool:
        """Whether the user provides the images."""
        return self.num_classes is None


DATASETS = {
    "cifar100": Dataset("cifar100", 100, 50_000),
    "digits": Dataset("digits", 10, 1437, is_embedded=True),
    "imagenet": Dataset("image_folder", 1000, 1_281_167, on_disk=True),
    "imagefolder": Dataset("image_folder", on_disk=True),
    "csv": Dataset("csv_file", on_disk=True),
    "npz": Dataset("npz_file"),
    "tar": Dataset("tar_archive", on_disk=True),
    "hfds": Dataset("hub_dataset", on_disk=True),  # hfds/NAME
}
_NAMED = ("hfds",)  # data sets whose names have a second part
_NAME = re.compile(r"[\w./:@+-]+")


def find_dataset(name: str) -> Dataset:
    """The data set of a valid name."""
    return DATASETS[name.partition("/")[0]]


def known_dataset(name: str) -> str:
    """The name of a data set.

    Raises:
        PydanticCustomError: there is no such data set.
    """
    kind, separator, part = name.partition("/")
    is_valid = bool(_NAME.fullmatch(part)) if kind in _NAMED else not separator
    if kind in DATASETS and is_valid:
        return name
    if kind in ("wds", "hfids", "tfds"):
        raise PydanticCustomError(
            "streamed_dataset",
            "should not be streamed, because an epoch could not be resumed; use tar or hfds/NAME",
        )
    known = ", ".join(f"{kind}/NAME" if kind in _NAMED else kind for kind in DATASETS)
    raise PydanticCustomError("unknown_dataset", "should be one of {known}", {"known": known})


def check_dataset(option: str, name: str) -> None:
    """Check the name of a data set on a command line.

    Raises:
        RequestError: there is no such data set.
    """
    try:
        known_dataset(name)
    except PydanticCustomError as error:
        raise RequestError(f"{option} {name}: {error}") from None
