"""Signals that end a process, as a condition that the training loop polls."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lskd_cli.cli.terminal.console import info

# Windows has no SIGHUP, which a closed terminal sends.
_STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the context, the yielded function returns True after SIGINT, SIGTERM or SIGHUP.

    Signals that are ignored, as SIGHUP under nohup, stay so. A second signal raises
    KeyboardInterrupt.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        info("stopping after this step; press Ctrl-C again to abort")

    numbers = [n for n in _STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    previous = [signal.signal(number, handle) for number in numbers]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
