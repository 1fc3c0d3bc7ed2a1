"""Sweeps: standardized runs of a method that differ only in base temperature and weight."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lskd_cli.results.grouping import (
    ExperimentKey,
    RunGroup,
    experiment_key,
    method_name,
    plain_reference,
)
from lskd_cli.results.runs import Run

GridPoint = tuple[float, float]  # base temperature and weight of the distillation loss
_AXES = ("temperature", "kd_weight")


@dataclass(frozen=True)
class Sweep:
    """Finished runs of a method with several base temperatures or weights.

    Attributes:
        points: runs by base temperature and weight.
        plain: runs with equal settings without standardization; empty if there are none.
        other_settings: settings of the standardization besides base temperature and weight.
    """

    points: Mapping[GridPoint, list[Run]]
    plain: list[Run]
    other_settings: Mapping[str, Any]

    @property
    def example(self) -> Run:
        """The first run."""
        return next(iter(self.points.values()))[0]

    @property
    def method(self) -> str:
        """Label of the method, for example ``KD``."""
        return method_name(self.example)

    @property
    def default(self) -> GridPoint | None:
        """The point of the preset of the plain runs; None if it has no standardization."""
        points = (_point(run) for run in self.plain if run.preset.stand is not None)
        return next(points, None)


def find_sweeps(group: RunGroup) -> list[Sweep]:
    """The sweeps of a group.

    A preset with plain runs of its own belongs to no other sweep, even if its settings are equal:
    it may be the result of a search, which is compared with the preset that was searched.
    """
    plain: dict[ExperimentKey, dict[str, list[Run]]] = {}
    for run in (run for run in group.runs if run.is_finished and not run.preset.standardized):
        plain.setdefault(experiment_key(run), {}).setdefault(run.preset.name, []).append(run)
    grids: dict[tuple[ExperimentKey, str, str], list[Run]] = {}
    for run in (run for run in group.runs if run.is_finished and run.preset.standardized):
        key = experiment_key(run)
        reference = plain_reference(run.preset.name, plain.get(key, ()))
        grids.setdefault((key, reference, str(_other_settings(run))), []).append(run)
    sweeps = []
    for (key, reference, _), runs in grids.items():
        points: dict[GridPoint, list[Run]] = {}
        for run in sorted(runs, key=lambda run: run.preset.name != reference):
            found = points.setdefault(_point(run), [])
            if not found or found[0].preset.name == run.preset.name:
                found.append(run)
        if len(points) > 1:
            plain_runs = plain.get(key, {}).get(reference, [])
            sweeps.append(Sweep(points, plain_runs, _other_settings(runs[0])))
    return sweeps


def without_sweeps(group: RunGroup) -> RunGroup:
    """The group without the points of sweeps other than that of the plain preset."""
    swept: set[int] = set()
    for sweep in find_sweeps(group):
        if sweep.default in sweep.points:
            for point, runs in sweep.points.items():
                swept |= {id(run) for run in runs if point != sweep.default}
    methods = [
        method for method in group.methods if not any(id(run) in swept for run in method.runs)
    ]
    runs = [run for run in group.runs if id(run) not in swept]
    return replace(group, runs=runs, methods=methods)


def _other_settings(run: Run) -> dict[str, Any]:
    stand = run.preset.stand
    assert stand is not None
    return {key: value for key, value in stand.overrides().items() if key not in _AXES}


def _point(run: Run) -> GridPoint:
    """Base temperature and weight; for a plain run, those of its preset's standardization."""
    stand = run.preset.stand
    assert stand is not None
    return stand.temperature, stand.kd_weight
