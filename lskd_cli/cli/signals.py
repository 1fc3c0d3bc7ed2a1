"""SIGINT and SIGTERM as a condition that the training loop polls."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lskd_cli.cli.console import info


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the context, the yielded function returns True after SIGINT or SIGTERM.

    A second signal raises KeyboardInterrupt.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        info("stopping after this step; press Ctrl-C again to abort")

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, handle) for number in numbers]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
