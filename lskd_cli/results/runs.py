"""Reads run folders."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError
from lskd_cli.layout import METRICS, PRESET, RUN, list_runs, list_seeds


@dataclass
class Run:
    """A run as its folder tells it.

    Attributes:
        history: one record per finished epoch.
        info: of run.json.
    """

    path: Path
    preset: Preset
    history: list[dict[str, float]]
    info: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it has reached its last epoch."""
        return self.info.get("state") == "done"

    def top1(self, accuracy: str) -> float:
        """Test accuracy in percent of its "best" or "last" epoch.

        The best epoch was chosen on the validation images where some were held out, else on the
        test images, as in the published rows.
        """
        record = self.history[-1]
        if accuracy == "best":
            chosen_by = "val_top1" if "val_top1" in record else "test_top1"
            record = max(self.history, key=lambda epoch: epoch[chosen_by])
        return record["test_top1"]


def find_runs(folder: Path, given: Sequence[Path], complain: Callable[[str], None]) -> list[Run]:
    """The given runs, or all in a folder.

    Args:
        folder: searched where ``given`` is empty.
        given: runs (NAME/seedN), presets' folders (NAME), or folders of those.
        complain: told of runs in ``folder`` that cannot be read; given ones raise. Also told of
            metrics whose last line is broken: they are read up to it.

    Raises:
        RequestError: a given folder holds no readable run.
    """
    if given:
        return [read_run(path, complain) for root in given for path in _inside(root)]
    runs = []
    for path in list_runs(folder):
        try:
            runs.append(read_run(path, complain))
        except RequestError as error:
            complain(str(error))
    return runs


def _inside(root: Path) -> list[Path]:
    if (root / RUN).exists():
        return [root]
    found = list_seeds(root) or list_runs(root)
    if not found:
        raise RequestError(f"{root}: holds no run (no {RUN} in it)")
    return found


def read_run(path: Path, complain: Callable[[str], None]) -> Run:
    """A run from its folder.

    Raises:
        RequestError: a file of it is missing or damaged.
    """
    name = RUN
    try:
        info = json.loads((path / name).read_text(encoding="utf-8"))
        name = METRICS
        metrics = path / name
        text = metrics.read_text(encoding="utf-8") if metrics.exists() else ""
        history = _records(text, lambda: complain(f"{metrics}: last line broken; read up to it"))
    except OSError as error:
        raise RequestError(f"{path / name}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RequestError(f"{path / name}: damaged: {error}") from None
    if not isinstance(info, dict) or not all(isinstance(record, dict) for record in history):
        raise RequestError(f"{path}: {RUN} or {METRICS} damaged: not what a run writes")
    if info.get("state") == "done" and not history:
        raise RequestError(f"{path / METRICS}: missing or empty, though the run is finished")
    run = Run(path, load_preset(path / PRESET, foreign=True), history, info)
    if run.finished and len(history) < run.preset.schedule.epochs:
        raise RequestError(
            f"{path / METRICS}: {len(history)} of the {run.preset.schedule.epochs} epochs of a "
            "finished run; 'lskd train --fresh' makes it anew"
        )
    return run


def _records(text: str, broken: Callable[[], None]) -> list[Any]:
    """The lines of a file, each JSON; without the last one, which is told, if it is not.

    Raises:
        ValueError: another line is not.
    """
    lines = text.splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise
            broken()
    return records
