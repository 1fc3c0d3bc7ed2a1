"""What a network says of test images, for figures."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Kind = Literal["teacher", "alone", "plain", "ours"]


@dataclass(frozen=True)
class Outputs:
    """Of one network, for the same N images as those of its companions.

    Attributes:
        name: as figures call it: the teacher's network, or the student's method.
        run: where it comes from: a run's path, or a file.
        kind: what it is among its companions.
        top1: accuracy on these images, percent.
        logits: (N, classes) float32.
        standardized: the same with mean 0 and deviation 1 for each image.
        pooled: (N, features) float32, what its classifier reads; None where it does not tell.
        kl: from the teacher in nats, at the shared temperature; None of the teacher itself.
        kl_standardized: the same of standardized logits, at that base temperature.
    """

    name: str
    run: str
    kind: Kind
    top1: float
    logits: Array
    standardized: Array
    pooled: Array | None = None
    kl: float | None = None
    kl_standardized: float | None = None

    @property
    def deviations(self) -> Array:
        """(N,) standard deviation over the classes (unbiased, as standardization divides by)."""
        return np.asarray(self.logits.std(axis=1, ddof=1))


@dataclass(frozen=True)
class Exhibit:
    """The networks of one setting with the images that they saw.

    Attributes:
        images: (N,) places of the images in the test set.
        targets: (N,) their classes.
        networks: the teacher first.
        temperature: of the divergences from the teacher.
        in_order: of how many pairs of students the more accurate one diverges less from the
            teacher, at the shared temperature and standardized, and the number of pairs.
    """

    images: Array
    targets: Array
    networks: list[Outputs]
    temperature: float
    in_order: tuple[int, int, int]
