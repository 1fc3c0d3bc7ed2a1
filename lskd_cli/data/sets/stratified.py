"""Stratified splits of images."""

from typing import TypeVar

import numpy as np

from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.in_memory import InMemoryImages
from lskd_cli.errors import RequestError

# All runs have the same splits, whatever their seed, so that they can be compared.
_SEED = 0

AnyImages = TypeVar("AnyImages", bound=InMemoryImages | FileImages)


def stratified_split(images: AnyImages, size: float, key: str) -> tuple[AnyImages, AnyImages]:
    """Split images so that every class has the same fraction in both parts.

    Args:
        images: the images.
        size: fraction or number of the images of the second part.
        key: key of the preset that requests it, for error messages.

    Returns:
        The remaining images, and the selected ones, both in their order.

    Raises:
        RequestError: a class has too few images.
    """
    from sklearn.model_selection import train_test_split

    try:
        remaining, selected = train_test_split(
            np.arange(len(images)),
            test_size=size,
            stratify=images.targets.numpy(),
            random_state=_SEED,
        )
    except ValueError as error:
        raise RequestError(f"{key}: cannot split off {size} of the images: {error}") from None
    splits = images.subset(np.sort(remaining)), images.subset(np.sort(selected))
    return splits  # type: ignore[return-value]
