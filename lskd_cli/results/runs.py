"""Reading of run folders for tables, figures and the report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError
from lskd_cli.run_info import Metrics, RunInfo, read_metrics, read_run_info
from lskd_cli.run_paths import METRICS, PRESET, RUN, list_runs, list_seeds

EpochName = Literal["best", "last"]

_RECENT = 10  # epochs whose times are used to estimate the remaining time


@dataclass
class Run:
    """A run as its folder describes it.

    Attributes:
        path: the run folder.
        preset: the resolved preset.
        history: metrics of each finished epoch.
        info: content of run.json.
    """

    path: Path
    preset: Preset
    history: list[Metrics]
    info: RunInfo

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished its last epoch."""
        return self.info.is_finished

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the remaining training time, from the last epochs; None if it is unknown."""
        remaining = self.preset.schedule.epochs - len(self.history)
        seconds = [epoch["seconds"] for epoch in self.history[-_RECENT:] if "seconds" in epoch]
        if self.is_finished or not seconds:
            return None
        return median(seconds) * remaining

    def top1(self, epoch: EpochName) -> float:
        """Test accuracy in percent of the "best" or "last" epoch.

        The best epoch is selected on the validation images if some were held out, else on the test
        images, as in the published rows.
        """
        metrics = self.history[-1]
        if epoch == "best":
            key = "val_top1" if "val_top1" in metrics else "test_top1"
            metrics = max(self.history, key=lambda epoch: epoch[key])
        return metrics["test_top1"]


def find_runs(runs_dir: Path, paths: Sequence[Path], warn: Callable[[str], None]) -> list[Run]:
    """Read the given runs, or all runs in a folder.

    Args:
        runs_dir: searched if ``paths`` is empty.
        paths: run folders (NAME/seedN), folders of presets (NAME), or folders of those.
        warn: called for runs that cannot be read, and for metrics whose last line is truncated.

    Raises:
        RequestError: a given folder contains no run, or is itself a run that cannot be read.
    """
    runs = []
    for path in find_run_folders(runs_dir, paths):
        try:
            runs.append(read_run(path, warn))
        except RequestError as error:
            if path in paths:
                raise
            warn(f"{error}; this run is left out")
    return runs


def find_run_folders(runs_dir: Path, paths: Sequence[Path]) -> list[Path]:
    """The folders of the given runs, or of all runs in a folder; see ``find_runs``.

    Raises:
        RequestError: a given folder contains no run.
    """
    return list(_list_runs_in(paths)) if paths else list_runs(runs_dir)


def _list_runs_in(roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        runs = [root] if (root / RUN).exists() else list_seeds(root) or list_runs(root)
        if not runs:
            raise RequestError(f"{root}: contains no run (no {RUN})")
        yield from runs


def read_run(path: Path, warn: Callable[[str], None]) -> Run:
    """Read a run from its folder.

    Raises:
        RequestError: a file of the run is missing or corrupt.
    """
    info = read_run_info(path)
    if info is None:
        raise RequestError(f"{path / RUN}: cannot be read: No such file or directory")
    history = read_metrics(path, warn)
    if info.is_finished and not history:
        raise RequestError(f"{path / METRICS}: missing or empty, although the run is finished")
    run = Run(path, load_preset(path / PRESET, allow_unknown_method=True), history, info)
    epochs = run.preset.schedule.epochs
    if run.is_finished and len(history) < epochs:
        raise RequestError(
            f"{path / METRICS}: {len(history)} of the {epochs} epochs of a finished run; retrain "
            "it with 'lskd train --fresh'"
        )
    return run
