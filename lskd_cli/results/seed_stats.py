"""Means, standard deviations and confidence intervals over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from lskd_cli.errors import RequestError
from lskd_cli.results.runs import EpochName, Run

Sign = Literal["higher", "lower", "unclear"]

_CONFIDENCE = 0.95


@dataclass
class SeedStats:
    """Mean and standard deviation (unbiased) of n values, and the 95 % t interval of the mean.

    A single value has neither a standard deviation nor an interval.
    """

    n: int
    mean: float
    std: float | None
    ci_low: float | None
    ci_high: float | None

    @staticmethod
    def of(values: Sequence[float]) -> "SeedStats | None":
        """Statistics of some values; None if there are none."""
        if not values:
            return None
        n, average = len(values), mean(values)
        if n == 1:
            return SeedStats(n, average, None, None, None)
        from scipy.stats import t  # takes half a second to import, and only several seeds need it

        std = stdev(values)
        half = float(t.ppf(_CONFIDENCE + (1 - _CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n)
        return SeedStats(n, average, std, average - half, average + half)

    @property
    def sign(self) -> Sign:
        """Sign of the interval of a difference; unclear if the interval contains zero.

        A single value has no interval, so its sign is unclear.
        """
        if self.ci_low is not None and self.ci_low > 0:
            return "higher"
        if self.ci_high is not None and self.ci_high < 0:
            return "lower"
        return "unclear"

    def text(self) -> str:
        """Mean and standard deviation, for example 76.62 ± 0.11."""
        return f"{self.mean:.2f}" + (f" ± {self.std:.2f}" if self.std is not None else "")

    def difference_text(self) -> str:
        """Mean and interval of differences, for example +3.29 [+2.98, +3.60]."""
        has_interval = self.ci_low is not None
        interval = f" [{self.ci_low:+.2f}, {self.ci_high:+.2f}]" if has_interval else ""
        return f"{self.mean:+.2f}{interval}"


def top1_by_seed(runs: Sequence[Run], epoch: EpochName) -> dict[int, float]:
    """Test accuracy in percent of the run of each seed.

    Raises:
        RequestError: two runs have the same seed.
    """
    by_seed: dict[int, Run] = {}
    for run in runs:
        seed = run.preset.seed
        if seed in by_seed:
            raise RequestError(
                f"{run.path}: the same run as {by_seed[seed].path}; give only one of the two"
            )
        by_seed[seed] = run
    return {seed: run.top1(epoch) for seed, run in by_seed.items()}


def paired_difference(reference: dict[int, float], other: dict[int, float]) -> SeedStats | None:
    """Other minus reference, paired by seed; the interval is that of a paired t test."""
    seeds = sorted(reference.keys() & other.keys())
    return SeedStats.of([other[seed] - reference[seed] for seed in seeds])
