"""Outputs of networks on test images as NumPy arrays: what the figures of a report draw."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
# baseline: a student without a teacher; plain: distilled; standardized: distilled with --stand.
Role = Literal["teacher", "baseline", "plain", "standardized"]


@dataclass(frozen=True)
class NetworkOutputs:
    """Outputs of one network on N images, the same images for every network of a set.

    Attributes:
        name: label in figures: the teacher's model name, or the student's method.
        run: source of the weights: a run's path, or a file.
        role: role of the network in the set.
        top1: accuracy on these images, percent.
        logits: (N, classes) float32.
        standardized: (N, classes) float32, the logits with mean 0 and standard deviation 1 in
            every row.
        pooled: (N, features) float32, the input of the classifier; None if the network does not
            return it.
        kl: KL(teacher || student) in nats at the shared temperature; None for the teacher.
        kl_standardized: the same divergence of standardized logits at that base temperature.
    """

    name: str
    run: str
    role: Role
    top1: float
    logits: Array
    standardized: Array
    pooled: Array | None = None
    kl: float | None = None
    kl_standardized: float | None = None

    @property
    def logit_std(self) -> Array:
        """(N,) standard deviation over the classes (unbiased, as in standardization)."""
        return np.asarray(self.logits.std(axis=1, ddof=1))


@dataclass(frozen=True)
class OutputSet:
    """Outputs of a teacher and its students on the same test images.

    Attributes:
        indices: (N,) indices of the images in the test set.
        targets: (N,) class indices.
        networks: the teacher first.
        temperature: temperature of the divergences from the teacher.
        concordant: number of student pairs in which the more accurate student has the smaller
            divergence, at the shared temperature and standardized, and the number of pairs.
    """

    indices: Array
    targets: Array
    networks: list[NetworkOutputs]
    temperature: float
    concordant: tuple[int, int, int]
