"""Types that all parts of a preset are built from."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from lskd_cli.config.datasets import known_dataset
from lskd_cli.io.printable import printable

# Views of a training image. weak: cropped and flipped; strong: two more operations and a cutout.
View = Literal["weak", "strong"]

_MAX_MAGNITUDE = 2**31
Fraction = Annotated[float, Field(ge=0, lt=1)]
MAX_SEED = 2**31  # exclusive
Seed = Annotated[int, Field(ge=0, lt=MAX_SEED)]
# Names of networks, such as resnet32x4, torchvision/vgg16 or timm/vit_tiny_patch16_224.augreg.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./:@+-]*$", max_length=200)]
DatasetName = Annotated[str, AfterValidator(known_dataset)]
Percent = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, AfterValidator(printable)]  # from a file; safe to print


class ConfigModel(BaseModel):
    """Base class of all parts of a preset.

    Unknown keys are refused, values are not converted, and instances do not change.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _check_magnitude(cls, value: Any) -> Any:
        """Refuse numbers that no setting needs, before they overflow or never end."""
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, (int, float)) and abs(number) > _MAX_MAGNITUDE:
                raise PydanticCustomError("too_large", "should be at most 2**31 in magnitude")
        return value
