"""Transfer of batches from worker processes."""

from collections.abc import Iterator

import pytest
import torch

from lskd_cli.data import BatchSpec
from lskd_cli.data.prefetch import prefetch
from lskd_cli.errors import RunError

CPU = torch.device("cpu")


def _broken(error: Exception) -> Iterator[BatchSpec]:
    yield BatchSpec(torch.zeros(2), {})
    raise error


def test_a_killed_worker_is_reported_with_likely_causes() -> None:
    killed = RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error.\nmore")
    batches = prefetch(_broken(killed), CPU)
    assert len(next(batches).index) == 2
    with pytest.raises(
        RunError, match=r"\(pid 5\).*Bus error\.\), perhaps for lack of memory.*/dev/shm"
    ):
        next(batches)


def test_other_errors_are_left_as_they_are() -> None:
    batches = prefetch(_broken(RuntimeError("out of range")), CPU)
    next(batches)
    with pytest.raises(RuntimeError, match="out of range"):
        next(batches)
