"""Transfer of batches from worker processes to the device."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

from lskd_cli.data.batch import TensorSpec
from lskd_cli.errors import RunError, first_line

Spec = TypeVar("Spec", bound=TensorSpec)


def prefetch(batches: Iterable[Spec], device: torch.device) -> Iterator[Spec]:
    """Batches on a device; on CUDA, the next batch is copied while the current one is used.

    Raises:
        RunError: a worker raised it, or a worker process exited.
    """
    batches = _with_plain_errors(batches)
    if device.type != "cuda":
        yield from batches
        return
    copy_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    following: tuple[Spec, torch.cuda.Event] | None = None
    for batch in batches:
        current = following
        with torch.cuda.stream(copy_stream):
            copied = batch.map(lambda tensor: tensor.to(device, non_blocking=True))
        following = copied, copy_stream.record_event()
        if current is not None:
            yield _received(*current, device)
    if following is not None:
        yield _received(*following, device)


def _with_plain_errors(batches: Iterable[Spec]) -> Iterator[Spec]:
    try:
        yield from batches
    except RunError as error:
        # An error of a worker contains the worker's traceback, with the message at its end.
        raise RunError(str(error).strip().rpartition("RunError: ")[2]) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            f"a DataLoader worker exited ({first_line(error)}), perhaps for lack of "
            "memory or of space in /dev/shm; the same command resumes the run"
        ) from error


def _received(batch: Spec, copied: torch.cuda.Event, device: torch.device) -> Spec:
    """The batch, once it is copied; the copy of the next one is not waited for."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)
    for tensor in batch.tensors():
        tensor.record_stream(current)  # keeps the memory until the current stream has used it
    return batch
