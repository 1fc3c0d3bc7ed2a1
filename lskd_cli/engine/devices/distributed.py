"""The process group of a run that torchrun starts; by default a single process.

Decisions are exchanged as CPU tensors (gloo), so that no device has to be synchronized; gradients
are exchanged by the backend of the devices (NCCL between GPUs).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from lskd_cli.data import DataShard, worker_count
from lskd_cli.engine.devices.dist_env import (
    is_launched,
    is_on_one_machine,
    local_rank,
    local_world_size,
    restart_count,
)
from lskd_cli.engine.devices.failure import FailureReport
from lskd_cli.errors import Interrupted, RequestError, RunError, first_line

Result = TypeVar("Result")

# The main process may take this long to prepare a data set while the other processes wait.
_PREPARATION_TIMEOUT = timedelta(hours=2)
DEFAULT_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class ProcessGroup:
    """One process among those that train a run.

    Attributes:
        rank: global rank of this process; rank 0 writes all files.
        world_size: number of processes.
        local_world_size: number of processes on this machine.
        long_timeout_group: group for waits of hours; None with a single process.
        failure: reports to the other processes why one failed; None with a single process.
    """

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    long_timeout_group: Any = field(default=None, compare=False)
    failure: FailureReport | None = field(default=None, compare=False)

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.rank == 0

    @property
    def shard(self) -> DataShard:
        """The part of every batch that this process gets."""
        return DataShard(self.rank, self.world_size, worker_count(self.local_world_size))

    def any_rank(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is True in any process."""
        if self.world_size == 1:
            return list(flags)
        values = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return [bool(value) for value in values.tolist()]

    def wait_for_all(self) -> None:
        """Wait for all processes, for hours if necessary."""
        if self.world_size > 1:
            dist.all_reduce(torch.zeros(1), group=self.long_timeout_group)

    def all_gather(self, values: Tensor) -> Tensor:
        """(P, ...) CPU values of all P processes; the shape is the same in every process."""
        local = values.cpu()
        if self.world_size == 1:
            return local[None]
        gathered = [torch.empty_like(local) for _ in range(self.world_size)]
        dist.all_gather(gathered, local)
        return torch.stack(gathered)

    def all_gather_padded(self, rows: Tensor, max_rows: int) -> Tensor:
        """Rows of all processes on their device; padding repeats the last row of a process.

        Args:
            rows: (N, ...) of this process; N may differ between processes.
            max_rows: largest N of any process.
        """
        if self.world_size == 1:
            return rows
        padded = torch.cat([rows, rows[-1:].expand(max_rows - len(rows), *rows.shape[1:])])
        gathered = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(gathered, padded)
        return torch.cat(gathered)

    def all_equal(self, values: Tensor) -> bool:
        """Whether all processes have the same values."""
        gathered = self.all_gather(values)
        return bool((gathered == gathered[0]).all())

    def on_main_process(
        self, function: Callable[[], Result], is_slow: bool = False
    ) -> Result | None:
        """Run a function in the main process while the others wait, and return its result there.

        Args:
            function: called in the main process.
            is_slow: whether it may take hours.

        Raises:
            RequestError, RunError, Interrupted: the function raised it; it is raised in every
                process.
        """
        if self.world_size == 1:
            return function()
        result: Result | None = None
        failure: list[RequestError | RunError | Interrupted | None] = [None]
        if self.is_main_process:
            try:
                result = function()
            except (RequestError, RunError, Interrupted) as error:
                failure = [error]
        dist.broadcast_object_list(failure, group=self.long_timeout_group if is_slow else None)
        if failure[0] is not None:
            failure[0].from_other_process = not self.is_main_process
            raise failure[0]
        return result

    def wrap_ddp(self, module: nn.Module, all_params_used: bool) -> nn.Module:
        """A module whose gradients are averaged over all processes.

        Args:
            module: has the same parameters in every process.
            all_params_used: whether every parameter gets a gradient in every step.
        """
        if self.world_size == 1:
            return module
        wrapped = DistributedDataParallel(module, find_unused_parameters=not all_params_used)
        # Buffers are not broadcast in every step: training reads no running statistics
        # (broadcast_buffers synchronizes them later), and memories are equal in all processes.
        # The argument of this name is deprecated; the attribute exists in all versions.
        wrapped.broadcast_buffers = False
        return wrapped

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of the device by their means over all processes."""
        if self.world_size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        means = torch.split(flat / self.world_size, [tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of the main process, which a saved state contains, to all others."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def init_distributed(on_cuda: bool, timeout: timedelta = DEFAULT_TIMEOUT) -> Iterator[ProcessGroup]:
    """Connect the processes that torchrun started; without torchrun, a single process.

    Args:
        on_cuda: whether every process trains on a GPU of its own.
        timeout: time after which a process that does not answer ends the run.

    Raises:
        RunError: the processes cannot connect.
    """
    if not is_launched():
        yield SINGLE_PROCESS
        return
    options: dict[str, Any] = {}
    if on_cuda:
        torch.cuda.set_device(local_rank())
        options = {"device_id": torch.device("cuda", local_rank())}
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=_PREPARATION_TIMEOUT))
        if is_on_one_machine():
            # torchrun may keep the store, with addresses of old processes, when it restarts them.
            # Several machines count restarts separately: docs/distributed.md has a remedy.
            store = PrefixStore(f"attempt {restart_count()}", store)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=timeout, **options
        )
        long_timeout_group = dist.new_group(backend="gloo", timeout=_PREPARATION_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"torchrun: rendezvous failed: {first_line(error)}") from error
    yield ProcessGroup(
        rank, world_size, local_world_size(), long_timeout_group, FailureReport(store, rank)
    )
    # Not after an error, because the other processes, which may not have it, would be waited for.
    dist.destroy_process_group()
