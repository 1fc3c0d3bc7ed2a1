"""Settings of the test suite."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lskd_cli.config import Data
from lskd_cli.data import InMemoryImages, datasets
from lskd_cli.download import Progress

settings.register_profile("lskd", deadline=None)
settings.load_profile("lskd")
# There is one test process per core, so each of them and its child processes use one thread.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture
def small_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits set with 150 training and 50 test images: an epoch is three steps."""
    load_all = datasets._LOADERS["digits"]

    def small(
        data: Data, folder: Path, progress: Progress
    ) -> tuple[InMemoryImages, InMemoryImages]:
        train, test = load_all(data, folder, progress)
        return (
            InMemoryImages(train.images[:150], train.targets[:150]),
            InMemoryImages(test.images[:50], test.targets[:50]),
        )

    monkeypatch.setitem(datasets._LOADERS, "digits", small)
