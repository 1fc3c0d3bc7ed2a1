"""The keys in which nested settings differ."""

from collections.abc import Iterator, Mapping
from typing import Any


def find_differences(
    one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values of every difference; None where a key is missing.

    A mapping that only one of them has differs in each of its keys.
    """
    for key in {**one, **other}:
        first, second = one.get(key), other.get(key)
        is_nested = isinstance(first, dict) or isinstance(second, dict)
        if is_nested and all(isinstance(mapping.get(key, {}), dict) for mapping in (one, other)):
            yield from find_differences(first or {}, second or {}, f"{prefix}{key}.")
        elif first != second:
            yield f"{prefix}{key}", first, second
