"""The digits data set with fewer images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from lskd_cli.config import Data
from lskd_cli.data import InMemoryImages, datasets
from lskd_cli.io.download import Progress

Loader = Callable[[Data, Path, Progress], tuple[InMemoryImages, InMemoryImages]]


def digits_loader(num_train: int, num_test: int | None = None) -> Loader:
    """A loader of the first training and test images; None keeps all test images."""
    load_all = datasets._LOADERS["digits"]

    def load(data: Data, folder: Path, progress: Progress) -> tuple[InMemoryImages, InMemoryImages]:
        train, test = load_all(data, folder, progress)
        return (
            train.subset(np.arange(num_train)),
            test if num_test is None else test.subset(np.arange(num_test)),
        )

    return load


@contextmanager
def few_digits(num_train: int = 150, num_test: int = 50) -> Iterator[None]:
    """Within it, the digits set has only its first images."""
    with patch.dict(datasets._LOADERS, digits=digits_loader(num_train, num_test)):
        yield
