"""Reading of run folders for tables, figures and the report."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError
from lskd_cli.run_info import RunInfo, read_run_info
from lskd_cli.run_paths import METRICS, PRESET, RUN, list_runs, list_seeds


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
    history: list[dict[str, float]]
    info: RunInfo

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished its last epoch."""
        return self.info.is_done

    def top1(self, accuracy: str) -> float:
        """Test accuracy in percent of the "best" or "last" epoch.

        The best epoch is selected on the validation images if some were held out, else on the test
        images, as in the published rows.
        """
        metrics = self.history[-1]
        if accuracy == "best":
            key = "val_top1" if "val_top1" in metrics else "test_top1"
            metrics = max(self.history, key=lambda epoch: epoch[key])
        return metrics["test_top1"]


def find_runs(runs_dir: Path, paths: Sequence[Path], warn: Callable[[str], None]) -> list[Run]:
    """Read the given runs, or all runs in a folder.

    Args:
        runs_dir: searched if ``paths`` is empty.
        paths: run folders (NAME/seedN), folders of presets (NAME), or folders of those.
        warn: called for runs in ``runs_dir`` that cannot be read (given ones raise an error), and
            for metrics whose last line is truncated.

    Raises:
        RequestError: a given folder contains no readable run.
    """
    if paths:
        return [read_run(path, warn) for root in paths for path in _list_runs_in(root)]
    runs = []
    for path in list_runs(runs_dir):
        try:
            runs.append(read_run(path, warn))
        except RequestError as error:
            warn(str(error))
    return runs


def _list_runs_in(root: Path) -> list[Path]:
    if (root / RUN).exists():
        return [root]
    runs = list_seeds(root) or list_runs(root)
    if not runs:
        raise RequestError(f"{root}: contains no run (no {RUN})")
    return runs


def read_run(path: Path, warn: Callable[[str], None]) -> Run:
    """Read a run from its folder.

    Raises:
        RequestError: a file of the run is missing or damaged.
    """
    info = read_run_info(path)
    if info is None:
        raise RequestError(f"{path / RUN}: cannot be read: No such file or directory")
    history = _read_metrics(path / METRICS, warn)
    if info.is_done and not history:
        raise RequestError(f"{path / METRICS}: missing or empty, although the run is finished")
    run = Run(path, load_preset(path / PRESET, allow_unknown_method=True), history, info)
    epochs = run.preset.schedule.epochs
    if run.is_finished and len(history) < epochs:
        raise RequestError(
            f"{path / METRICS}: {len(history)} of the {epochs} epochs of a finished run; retrain "
            "it with 'lskd train --fresh'"
        )
    return run


def _read_metrics(path: Path, warn: Callable[[str], None]) -> list[dict[str, float]]:
    """The metrics of all epochs; a truncated last line is ignored with a warning."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RequestError(f"{path}: damaged: {error}") from None
    history: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            metrics = json.loads(line)
        except ValueError as error:
            if number < len(lines):
                raise RequestError(f"{path}: damaged: {error}") from None
            warn(f"{path}: truncated last line ignored")
            break
        if not isinstance(metrics, dict):
            raise RequestError(f"{path}: damaged: line {number} is not an object")
        history.append(metrics)
    return history
