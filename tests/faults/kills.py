"""kill -9 of a training process at random moments."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.engine.kills import kill_and_resume
from tests.faults.outcome import Outcome

_KILLS, _SERIES = 100, 4


def run(root: Path) -> list[Outcome]:
    """Kill runs that train two students, and resume them."""
    outcome = Outcome("kill -9 at a random moment of training", "same weights, bit for bit")

    def series(seed: int) -> bool:
        expected, found = kill_and_resume(root / str(seed), _KILLS // _SERIES, seed)
        return found == [expected] * len(found)

    with ThreadPoolExecutor(2) as threads:
        for seed, is_equal in enumerate(threads.map(series, range(_SERIES))):
            for _ in range(_KILLS // _SERIES):
                outcome.check(f"a kill of series {seed}", is_equal)
    return [outcome]
