"""Settings of the test suite."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from lskd_cli.data.sets import digits
from tests.digits import digits_loader, few_digits
from tests.engine.helpers import digits_preset, train

settings.register_profile("lskd", deadline=None)
settings.load_profile("lskd")
# There is one test process per core, so each of them and its child processes use one thread.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # and one DataLoader worker
torch.set_num_threads(1)
if not torch.cuda.is_available():
    # Without a device, every torch.manual_seed() would format the call stack, to seed one later.
    torch.cuda.manual_seed_all = lambda seed: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def tiny_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits set with 40 training and 20 test images."""
    monkeypatch.setattr(digits, "load", digits_loader(40, 20))


@pytest.fixture
def small_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits set with 150 training and 50 test images: an epoch is three steps."""
    monkeypatch.setattr(digits, "load", digits_loader(150, 50))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a joint run on ``small_digits``, which all test processes share; read only.

    It contains the teacher in ``checkpoints`` and, in ``runs``, kd-digits with and without
    standardization, with seeds 0 and 1, after two epochs.
    """
    folder = tmp_path_factory.getbasetemp()
    is_shared = "PYTEST_XDIST_WORKER" in os.environ  # with a folder for each test process
    root = (folder.parent if is_shared else folder) / "trained"
    with FileLock(f"{root}.lock"):
        if not (root / "complete").exists():
            presets = [
                digits_preset("kd", stand, 2, f"seed={seed}")
                for seed in (0, 1)
                for stand in (False, True)
            ]
            with few_digits():
                train(presets, root)
            (root / "complete").touch()
    return root


@pytest.fixture
def trained_copy(trained: Path, tmp_path: Path, small_digits: None) -> Path:
    """A copy of ``trained`` that a test may change."""
    return shutil.copytree(trained, tmp_path / "trained")
