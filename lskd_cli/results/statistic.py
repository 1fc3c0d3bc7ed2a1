"""Means, deviations and intervals over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from lskd_cli.errors import RequestError
from lskd_cli.results.runs import Run

_COVERAGE = 0.95


@dataclass
class Statistic:
    """Mean and standard deviation (unbiased) of n values, and Student's 95 % interval of the mean.

    One value has neither deviation nor interval.
    """

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None

    @staticmethod
    def of(values: Sequence[float]) -> "Statistic | None":
        """Of some values; None of none."""
        if not values:
            return None
        n, middle = len(values), mean(values)
        if n == 1:
            return Statistic(n, middle, None, None, None)
        from scipy.stats import t  # loads for half a second, and only several seeds need it

        deviation = stdev(values)
        half = float(t.ppf(_COVERAGE + (1 - _COVERAGE) / 2, n - 1)) * deviation / math.sqrt(n)
        return Statistic(n, middle, deviation, middle - half, middle + half)

    def text(self) -> str:
        """As in a table: 76.62 ± 0.11."""
        return f"{self.mean:.2f}" + (
            f" ± {self.deviation:.2f}" if self.deviation is not None else ""
        )

    def gain(self) -> str:
        """Of differences, with the interval: +3.29 [+2.98, +3.60]."""
        interval = f" [{self.low:+.2f}, {self.high:+.2f}]" if self.low is not None else ""
        return f"{self.mean:+.2f}{interval}"


def by_seed(runs: Sequence[Run], accuracy: str) -> dict[int, float]:
    """Test accuracy in percent of each seed's run.

    Raises:
        RequestError: two runs are of the same seed.
    """
    found: dict[int, Run] = {}
    for run in runs:
        seed = run.preset.seed
        if seed in found:
            raise RequestError(
                f"{run.path}: the same run as {found[seed].path}; name one of the two"
            )
        found[seed] = run
    return {seed: run.top1(accuracy) for seed, run in found.items()}


def paired(base: dict[int, float], other: dict[int, float]) -> Statistic | None:
    """Other minus base, seed by seed; its interval is that of a paired t test."""
    return Statistic.of([other[seed] - base[seed] for seed in sorted(base.keys() & other.keys())])
