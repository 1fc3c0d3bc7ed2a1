"""Ctrl-C, and a scheduler's request to end, as a question the training loop can ask."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lskd_cli.cli.console import say


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within it, SIGINT and SIGTERM make the given function answer True; a second one kills."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        say("stopping after this step; press Ctrl-C again to end at once")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, remember) for number in numbers]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
