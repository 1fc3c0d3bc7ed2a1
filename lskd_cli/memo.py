"""Values that a command computes once, however often it needs them."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])

_caches: list[Callable[[], None]] = []


def once_per_command(function: Function) -> Function:
    """A function that returns its last result again if its arguments are the same.

    It is for what lies in files, which may change between commands but not within one.
    """
    cached = lru_cache(maxsize=1)(function)
    _caches.append(cached.cache_clear)
    return cached  # type: ignore[return-value]


def start_command() -> None:
    """Forget the results of an earlier command of this process."""
    for clear in _caches:
        clear()
