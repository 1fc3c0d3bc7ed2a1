"""Worker processes of data loaders: they leave signals to the main process, which ends them."""

import multiprocessing
import os
import signal
from multiprocessing.util import Finalize

# Windows has no SIGHUP, which a closed terminal sends.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_registered_in: int | None = None  # the process that ends its workers when it exits


def ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and the signals of a scheduler to the process that saves the run."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_workers_at_exit() -> None:
    """Kill the workers of this process when it exits, whatever error it exits with.

    A loader ends its workers when it is deleted, but an error keeps it alive until the process
    exits. multiprocessing would then send SIGTERM, which the workers ignore, and wait forever.
    """
    global _registered_in
    if _registered_in != os.getpid():
        _registered_in = os.getpid()
        Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    if workers:
        # PyTorch reports workers that are killed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
