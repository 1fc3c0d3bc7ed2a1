"""Settings of the test suite."""

import os

import pytest
import torch
from hypothesis import settings

from lskd_cli.data import datasets
from tests.digits import digits_loader

settings.register_profile("lskd", deadline=None)
settings.load_profile("lskd")
# There is one test process per core, so each of them and its child processes use one thread.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture
def tiny_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits set with 40 training and 20 test images."""
    monkeypatch.setitem(datasets._LOADERS, "digits", digits_loader(40, 20))


@pytest.fixture
def small_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits set with 150 training and 50 test images: an epoch is three steps."""
    monkeypatch.setitem(datasets._LOADERS, "digits", digits_loader(150, 50))
