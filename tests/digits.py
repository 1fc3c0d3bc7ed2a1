"""The digits data set with fewer images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np

from lskd_cli.config import Data
from lskd_cli.data import DataSplits
from lskd_cli.data.sets import digits
from lskd_cli.io.download import Progress

_load = digits.load  # the tests replace it
Loader = Callable[[Data, Path, Progress], DataSplits]


def digits_loader(num_train: int, num_test: int | None = None) -> Loader:
    """A loader of the first training and test images; None keeps all test images."""

    def load(data: Data, folder: Path, progress: Progress) -> DataSplits:
        splits = _all_digits(data.model_dump_json())
        test = splits.test if num_test is None else splits.test.subset(np.arange(num_test))
        return DataSplits(splits.train.subset(np.arange(num_train)), test)

    return load


@cache
def _all_digits(settings: str) -> DataSplits:
    return _load(Data.model_validate_json(settings), Path(), lambda done, total: None)


@contextmanager
def few_digits(num_train: int = 150, num_test: int = 50) -> Iterator[None]:
    """Within it, the digits set has only its first images."""
    with patch.object(digits, "load", digits_loader(num_train, num_test)):
        yield
