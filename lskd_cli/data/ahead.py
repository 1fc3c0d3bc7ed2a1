"""Batches on their way from worker processes to the device."""

from collections.abc import Iterable, Iterator

import torch

from lskd_cli.data.batch import Draws
from lskd_cli.errors import RunError


def sent_ahead(made: Iterable[Draws], device: torch.device) -> Iterator[Draws]:
    """The batches on a device; on CUDA each is copied there, beside the work, one ahead.

    Raises:
        RunError: as a worker did, or a worker has ended.
    """
    batches = _plainly_told(made)
    if device.type != "cuda":
        yield from batches
        return
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    following: Draws | None = None
    for batch in batches:
        current = following
        with torch.cuda.stream(beside):
            following = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
        if current is not None:
            yield _received(current, beside)
    if following is not None:
        yield _received(following, beside)


def _plainly_told(batches: Iterable[Draws]) -> Iterator[Draws]:
    try:
        yield from batches
    except RunError as error:
        # What comes from a worker carries the worker's traceback, the message at its end.
        raise RunError(str(error).strip().rpartition("RunError: ")[2]) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            f"a process that reads images has ended ({str(error).splitlines()[0]}); it may "
            "lack memory, or a container's /dev/shm; the same command goes on"
        ) from error


def _received(batch: Draws, beside: torch.cuda.Stream) -> Draws:
    current = torch.cuda.current_stream(beside.device)
    current.wait_stream(beside)
    for values in batch.values():
        values.record_stream(current)  # its memory is not taken again before the work is done
    return batch
