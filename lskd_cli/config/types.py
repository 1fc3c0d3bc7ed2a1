"""Types that all parts of a preset are built from."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Views of a training image. weak: cropped and flipped; strong: two more operations and a cutout.
View = Literal["weak", "strong"]

Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Percent = Annotated[float, Field(ge=0, le=100)]


class ConfigModel(BaseModel):
    """Base class of all parts of a preset.

    Unknown keys are refused, values are not converted, and instances do not change.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
