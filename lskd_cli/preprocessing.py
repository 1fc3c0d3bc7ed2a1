"""Preprocessing of a network's images: a property of its weights, which were trained with it."""

import json
from dataclasses import asdict, dataclass

from lskd_cli.config import Data
from lskd_cli.config.data_settings import MIN_TEST_CROP

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_MAX_SIZE = 4096  # pixels
_FIELDS = ("image_size", "mean", "std", "interpolation", "crop", "squash")


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of a test image: resize, center crop, normalization.

    Attributes:
        image_size: S, side of the network's input in pixels.
        mean: mean per channel of images in 0..1, which is subtracted.
        std: standard deviation per channel, by which images are then divided.
        interpolation: filter of the resizing: nearest, bilinear, bicubic or lanczos.
        crop: S as a fraction of the resized image's shorter side; above 1, images are padded.
        squash: whether both sides are resized to the same length, whatever the aspect ratio is.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    crop: float = 1.0
    squash: bool = False

    @classmethod
    def of_data(cls, data: Data, image_size: int | None = None) -> "Preprocessing":
        """The preprocessing that the data settings of a preset describe.

        Images are resized bilinearly, whatever the augmentation in training is: the published rows
        were evaluated this way.
        """
        size = data.image_size if image_size is None else image_size
        return cls(size, tuple(data.mean), tuple(data.std), crop=data.test_crop)

    @classmethod
    def from_json(cls, text: str) -> "Preprocessing":
        """Parse what ``to_json`` has written.

        Raises:
            ValueError: the text is something else.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or set(values) != set(_FIELDS):
            raise ValueError(f"expected the keys {', '.join(_FIELDS)}")
        result = cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        sizes = (result.image_size, result.crop, *result.mean, *result.std)
        if not all(isinstance(value, (int, float)) and abs(value) <= _MAX_SIZE for value in sizes):
            raise ValueError("a number is missing, not finite or too large")
        if not isinstance(result.image_size, int) or not isinstance(result.squash, bool):
            raise ValueError("image_size must be an integer and squash a boolean")
        if not (1 <= result.image_size <= _MAX_SIZE and MIN_TEST_CROP <= result.crop <= 2):
            raise ValueError("image_size or crop is out of range")
        if result.interpolation not in INTERPOLATIONS:
            raise ValueError(f"unknown interpolation {result.interpolation!r}")
        if not (len(result.mean) == len(result.std) == 3 and min(result.std) > 0):
            raise ValueError("mean and std must have three numbers each")
        return result

    def to_json(self) -> str:
        """One line of JSON, for the metadata of a checkpoint."""
        return json.dumps(asdict(self))

    @property
    def resized_side(self) -> int:
        """Length in pixels to which the shorter side is resized before the crop, rounded down."""
        return int(self.image_size / self.crop + 1e-6)  # 224 / (224 / 232) is 231.99999999999997

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std."""
        return self.mean, self.std
