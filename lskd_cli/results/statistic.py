"""Means and deviations over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from lskd_cli.errors import RequestError
from lskd_cli.results.runs import Run


@dataclass
class Statistic:
    """Mean and standard deviation (unbiased; None for one value) of n values."""

    n: int
    mean: float
    deviation: float | None

    @staticmethod
    def of(values: Sequence[float]) -> "Statistic | None":
        """Of some values; None of none."""
        if not values:
            return None
        return Statistic(len(values), mean(values), stdev(values) if len(values) > 1 else None)

    def text(self, signed: bool = False) -> str:
        """As in a table: 76.62 ± 0.11."""
        start = f"{self.mean:+.2f}" if signed else f"{self.mean:.2f}"
        return start if self.deviation is None else f"{start} ± {self.deviation:.2f}"


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
    """Other minus base, seed by seed."""
    return Statistic.of([other[seed] - base[seed] for seed in sorted(base.keys() & other.keys())])
