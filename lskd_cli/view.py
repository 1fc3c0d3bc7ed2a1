"""The views of a training image, by name."""

from typing import Literal

# weak: cropped and flipped; strong: two more operations and a cutout on top.
View = Literal["weak", "strong"]
