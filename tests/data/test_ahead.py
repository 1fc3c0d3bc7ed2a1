"""Batches on their way from worker processes."""

from collections.abc import Iterator

import pytest
import torch

from lskd_cli.data import Draws
from lskd_cli.data.ahead import sent_ahead
from lskd_cli.errors import RunError

CPU = torch.device("cpu")


def _broken(error: Exception) -> Iterator[Draws]:
    yield {"target": torch.zeros(2)}
    raise error


def test_a_worker_that_was_killed_is_told_with_what_it_may_lack() -> None:
    killed = RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error.\nmore")
    batches = sent_ahead(_broken(killed), CPU)
    assert len(next(batches)["target"]) == 2
    with pytest.raises(RunError, match=r"\(pid 5\).*Bus error\.\); it may lack memory.*/dev/shm"):
        next(batches)


def test_other_errors_are_left_as_they_are() -> None:
    batches = sent_ahead(_broken(RuntimeError("out of range")), CPU)
    next(batches)
    with pytest.raises(RuntimeError, match="out of range"):
        next(batches)
