"""Errors of runs of several processes: the first to fail reports its error to the others."""

import time

import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from lskd_cli.engine.devices.dist_env import restart_count
from lskd_cli.errors import first_line

_CAUSE_TIMEOUT = 2.0  # seconds in which the message of another process may arrive


class FailureReport:
    """The message of the process that failed first."""

    def __init__(self, store: Store, rank: int) -> None:
        self.store = store
        self.rank = rank
        self.key = f"failure of attempt {restart_count()}"  # the store survives restarts

    def cause(self, error: Exception) -> str:
        """The cause of an error of this process; it is reported if no other process was first.

        A lost connection is never a cause: the process at its other end is asked for its message.
        """
        try:
            if _is_lost_connection(error):
                return self._message_of_other() or _describe_lost_connection(error)
            message = f"process {self.rank}: {first_line(error)}"
            self.store.compare_set(self.key, "", message)
            return str(self.store.get(self.key).decode())
        except RuntimeError:  # the store itself is lost
            return _describe_lost_connection(error)

    def _message_of_other(self) -> str | None:
        end = time.monotonic() + _CAUSE_TIMEOUT
        while time.monotonic() < end:
            if self.store.check([self.key]):
                return str(self.store.get(self.key).decode())
            time.sleep(0.1)
        return None


def _is_lost_connection(error: Exception) -> bool:
    text = str(error).lower()
    is_backend = "gloo" in text or "nccl" in text or "connection" in text
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and is_backend)


def _describe_lost_connection(error: Exception) -> str:
    if "timed out" in str(error).lower() or "timeout" in str(error).lower():
        return "another process did not answer in time (--process-timeout)"
    if _is_lost_connection(error):
        return "another process exited without an error message"
    return first_line(error)
