"""Mutated files, always the same ones, and the check of what reads them."""

import random
import time
from collections.abc import Callable, Iterator

from tests.faults.outcome import Outcome, ends_well

_MAX_SECONDS = 10.0
VALUES = (
    "null", "-1", "0", "1e300", "-1e300", "1e-300", ".nan", ".inf", "true", "''", "x", "[]", "{}",
    "[[[[]]]]", "9" * 400, "9" * 5000, "&a [*a]", "2026-02-30", "!!python/object:os.system {}",
    "'\\x1b[31m'", "\x00", "\ud800", "{a: 1, a: 2}", "0x10", "1_000", "~", "a: b: c", "[1, 2",
)  # fmt: skip


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """Flipped bits, cuts, insertions and replaced values, always the same ones."""
    chance = random.Random(0)
    fragments = [value.encode(errors="surrogatepass") for value in VALUES]
    for number in range(count):
        changed = bytearray(content)
        start = chance.randrange(len(content))
        end = min(len(content), start + chance.choice((1, 4, 40)))
        kind = number % 5
        if kind == 0:
            changed[start] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[start:]
        elif kind == 2:
            del changed[start:end]
        elif kind == 3:
            changed[start:end] = chance.choice(fragments)
        else:
            changed[start:start] = chance.choice(fragments)
        yield bytes(changed)


def check(outcome: Outcome, case: str, action: Callable[[], object]) -> None:
    """Count a case, in which an action succeeds or is refused with a message within 10 s."""
    start = time.monotonic()
    problem = ends_well(action)
    if time.monotonic() - start > _MAX_SECONDS:
        problem = f"took {time.monotonic() - start:.0f} s"
    outcome.check(f"{case}: {problem}", problem is None)
