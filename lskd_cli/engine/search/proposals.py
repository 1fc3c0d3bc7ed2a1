"""Samplers and pruners of Optuna, and what they propose within a search space."""

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from lskd_cli.config.search_space import METHOD, Dimension, FormSpace, Value
from lskd_cli.errors import RequestError
from lskd_cli.search_info import PrunerName, SamplerName

_STARTUP_TRIALS = 4  # random trials, before a sampler uses the results of others
_REDUCTION_FACTOR = 3  # one of three trials trains three times as long (arXiv:1603.06560)
_FIRST_RUNG = _REDUCTION_FACTOR**2  # the first decision is after a ninth of the epochs
_DIGITS = 4  # significant digits of proposed numbers

optuna.logging.set_verbosity(optuna.logging.ERROR)
# Several options of samplers are called experimental.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def create_sampler(name: SamplerName, space: FormSpace, seed: int) -> BaseSampler:
    """A sampler for one proposal; everything that it learns from is in the storage.

    Args:
        name: its name. The points of a grid are in the queue of the study.
        space: the search space.
        seed: seed of its random numbers, another one for each proposal.

    Raises:
        RequestError: the package of the sampler is not installed.
    """
    if name == "tpe":
        return TPESampler(
            seed=seed,
            n_startup_trials=_STARTUP_TRIALS,
            multivariate=True,
            group=len(space.bases) > 1,
            constant_liar=True,  # other trials run at the same time
        )
    if name == "cmaes":
        try:
            return CmaEsSampler(
                seed=seed, n_startup_trials=_STARTUP_TRIALS, warn_independent_sampling=False
            )
        except ImportError:
            raise RequestError("--sampler cmaes: not installed; run pip install cmaes") from None
    return RandomSampler(seed=seed)


def create_pruner(name: PrunerName, epochs: int) -> BasePruner:
    """A pruner of trials with a number of epochs; it decides for the first time after a ninth."""
    first = max(-(-epochs // _FIRST_RUNG), 1)
    if name == "hyperband":
        return HyperbandPruner(
            min_resource=first, max_resource=epochs, reduction_factor=_REDUCTION_FACTOR
        )
    if name == "median":
        return MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=first - 1)
    return NopPruner()


def suggest(trial: optuna.Trial, space: FormSpace) -> None:
    """Let the sampler choose the value of each dimension of a trial."""
    method = space.methods[0]
    if len(space.bases) > 1:
        method = trial.suggest_categorical(METHOD, space.methods)
    for dimension in space.dimensions[method]:
        label = dimension.label
        if dimension.values:
            trial.suggest_categorical(label, dimension.values)
        elif dimension.is_integer:
            low, high = int(dimension.low), int(dimension.high)
            trial.suggest_int(label, low, high, log=dimension.is_log)
        else:
            trial.suggest_float(label, dimension.low, dimension.high, log=dimension.is_log)


def settings_of(params: Mapping[str, Any], space: FormSpace) -> dict[str, Value]:
    """The proposed values, by label; numbers of a range have four significant digits."""
    by_label = {dimension.label: dimension for dimension in space.all_dimensions()}
    return {label: _round(value, by_label[label]) for label, value in params.items()}


def _round(value: Any, dimension: Dimension) -> Value:
    if dimension.values or dimension.is_integer:
        result: Value = value
        return result
    rounded = float(f"{value:.{_DIGITS}g}")
    return min(max(rounded, dimension.low), dimension.high)


def grid_points(space: FormSpace) -> Iterator[dict[str, Value]]:
    """All combinations of values, by label.

    Raises:
        RequestError: a dimension is a range.
    """
    for dimension in space.all_dimensions():
        if not dimension.values:
            raise RequestError(
                f"--sampler grid: {dimension.key} is a range; give its values, --space "
                f"{dimension.key}=V1,V2,..."
            )
    for method in space.methods:
        selection: dict[str, Value] = {METHOD: method} if len(space.bases) > 1 else {}
        dimensions = space.dimensions[method]
        for values in itertools.product(*(dimension.values for dimension in dimensions)):
            labels = (dimension.label for dimension in dimensions)
            yield selection | dict(zip(labels, values, strict=True))
