"""The processes that train one run together, as torchrun starts them; usually one alone.

Decisions go through tensors on the CPU (gloo), so that no device is waited for; gradients go the
way of the devices (NCCL between GPUs).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from lskd_cli.data import Share, worker_count
from lskd_cli.errors import Interrupted, RequestError, RunError
from lskd_cli.launch import is_launched, is_on_one_machine, local_rank, local_size, restarts

Result = TypeVar("Result")

# The first process may prepare a data set for as long as this while the others wait.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Team:
    """One process among those that train a run.

    Attributes:
        rank: of this process, from 0; the first one writes all files.
        size: number of processes.
        local_size: those on this machine.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """What this process takes of every batch."""
        return Share(self.rank, self.size, worker_count(self.local_size))

    def agreed(self, *flags: bool) -> list[bool]:
        """Each flag, true for all processes where it is for one."""
        if self.size == 1:
            return list(flags)
        values = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return [bool(value) for value in values.tolist()]

    def gathered(self, values: Tensor) -> Tensor:
        """(P, ...) CPU values of P processes, of one shape everywhere."""
        own = values.cpu()
        if self.size == 1:
            return own[None]
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.stack(parts)

    def collected(self, rows: Tensor, most: int) -> Tensor:
        """Rows of all processes, on their device; some of them stand there twice.

        Args:
            rows: (N, ...) of this process; other processes may have more or fewer.
            most: rows that a process may have.
        """
        if self.size == 1:
            return rows
        padded = torch.cat([rows, rows[-1:].expand(most - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat(parts)

    def is_alike(self, values: Tensor) -> bool:
        """Whether all processes have the same values."""
        of_all = self.gathered(values)
        return bool((of_all == of_all[0]).all())

    def led(self, function: Callable[[], Result]) -> Result | None:
        """Run a function in the first process while the others wait; its result there.

        Raises:
            RequestError, RunError, Interrupted: as the function did, in every process.
        """
        if self.size == 1:
            return function()
        result: Result | None = None
        failure: list[RequestError | RunError | Interrupted | None] = [None]
        if self.leads:
            try:
                result = function()
            except (RequestError, RunError, Interrupted) as error:
                failure = [error]
        dist.broadcast_object_list(failure)
        if failure[0] is not None:
            failure[0].told = not self.leads
            raise failure[0]
        return result

    def joined(self, module: nn.Module, uses_all: bool) -> nn.Module:
        """The module, whose gradients from here on are means over all processes.

        Args:
            module: with the same parameters everywhere.
            uses_all: whether every parameter has a gradient in every step.
        """
        if self.size == 1:
            return module
        # Buffers are not sent in every step: training reads no running statistics (like_first
        # brings them together), and what methods remember is the same everywhere.
        return DistributedDataParallel(
            module, find_unused_parameters=not uses_all, broadcast_buffers=False
        )

    def like_first(self, module: nn.Module) -> None:
        """Take over the buffers of the first process, as a saved state holds them."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


ALONE = Team()


@contextmanager
def assembled(on_cuda: bool) -> Iterator[Team]:
    """The processes that torchrun started, able to speak to each other; else this one alone.

    Args:
        on_cuda: whether they train on GPUs, one each.

    Raises:
        RunError: they do not find each other.
    """
    if not is_launched():
        yield ALONE
        return
    options: dict[str, Any] = {}
    if on_cuda:
        torch.cuda.set_device(local_rank())
        options = {"device_id": torch.device("cuda", local_rank())}
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        if is_on_one_machine():
            # torchrun may keep the store when it starts processes anew, with addresses of old ones.
            # Several machines count restarts apart: docs/distributed.md says what helps there.
            store = PrefixStore(f"attempt {restarts()}", store)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE, **options
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"torchrun: the processes do not find each other: {reason}") from error
    yield Team(dist.get_rank(), dist.get_world_size(), local_size())
    # Not after an error, which others may not have: taking leave of them would wait for them.
    dist.destroy_process_group()
