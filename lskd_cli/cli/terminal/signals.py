"""Signals that end a process, as a condition that the training loop polls."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from lskd_cli.cli.terminal.console import info
from lskd_cli.data.worker_processes import STOP_SIGNALS

_REPEATED_SECONDS = 1.0  # within which a scheduler sends the same signal to all processes


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the context, the yielded function returns True after SIGINT, SIGTERM or SIGHUP.

    Signals that are ignored, as SIGHUP under nohup, stay so. A second Ctrl-C raises
    KeyboardInterrupt. Other signals do not: shells and schedulers send them several times.
    """
    received: list[float] = []  # times of the signals

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if received and number == signal.SIGINT and now - received[0] > _REPEATED_SECONDS:
            raise KeyboardInterrupt
        received.append(now)
        if len(received) == 1:
            # The signal may have interrupted the output of another message.
            with suppress(RuntimeError):
                info("stopping after this step; press Ctrl-C again to abort")

    numbers = [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    previous = [signal.signal(number, handle) for number in numbers]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
