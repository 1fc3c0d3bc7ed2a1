"""The folder of a run, which can be loaded at any moment.

``resume.pt`` alone determines how far a run is. All other files of an epoch are written before it,
and written again when the epoch is repeated after a kill; the weights then have the same bytes.
"""

import io
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from filelock import Timeout
from torch import Tensor

from lskd_cli import __version__
from lskd_cli.checkpoints import first_non_finite, save_checkpoint
from lskd_cli.config import Preset, method_title, to_yaml
from lskd_cli.distillers import method_source
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import (
    regular_file,
    remove_temporary_files,
    write_atomically,
    write_text,
)
from lskd_cli.io.locks import file_lock
from lskd_cli.models import model_source
from lskd_cli.pickled_weights import check_torch_archive
from lskd_cli.run_info import Metrics, RunInfo, read_run_info, write_metrics, write_run_info
from lskd_cli.run_paths import BEST, METHOD, MODEL, PRESET, RESUME, WEIGHT_FILES, WeightsName

STATE_VERSION = 1  # changes when the state of a run gets another format
CORRUPT_STATE = (
    "corrupt or written by an incompatible version; --fresh restarts the run and keeps the old "
    "files"
)


@dataclass(frozen=True)
class EpochResult:
    """What a run has reached at the end of an epoch.

    Attributes:
        history: metrics of all finished epochs.
        best: metrics of the best one.
        is_best: whether the epoch is the best one so far.
        weights: "last" and, with a moving average of the weights, "ema": weights by parameter name,
            and the metadata of their file.
        state: everything that the next step depends on.
    """

    history: Sequence[Metrics]
    best: Metrics
    is_best: bool
    weights: Mapping[WeightsName, tuple[dict[str, Tensor], dict[str, str]]]
    state: Mapping[str, Any]


class RunFolder:
    """``runs/NAME/seedN``: reads the state of a run, and writes what it has reached."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, runs_dir: Path, preset: Preset) -> "RunFolder":
        """The folder of a preset's run."""
        return cls(runs_dir / preset.run_path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for writing; the lock ends with the process, however it ends.

        Raises:
            RequestError: another process writes to this folder, or the lock cannot be created.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.path, wait=False))
            except Timeout:
                raise RequestError(
                    f"{self.path}: another process is writing this run; wait for it or stop it"
                ) from None
            except OSError as error:
                raise RequestError(
                    f"{self.path.parent}: cannot be written: {error.strerror}"
                ) from None
            yield

    def info(self) -> RunInfo | None:
        """The run.json of the folder; None if there is no run.

        Raises:
            RequestError: the file is corrupt.
        """
        return read_run_info(self.path)

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished its last epoch."""
        info = self.info()
        return info is not None and info.is_finished

    def archive(self) -> Path | None:
        """Rename an existing folder to the first free NAME.oldN, and return its new path."""
        if not self.path.exists():
            return None
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        self.path.rename(target)
        return target

    def load_state(self) -> dict[str, Any] | None:
        """The saved state of an unfinished run, if there is one.

        Raises:
            RequestError: the file is corrupt or written by an incompatible version.
        """
        path = self.path / RESUME
        if not path.exists():
            return None
        try:
            check_torch_archive(regular_file(path))
            # Mapped into memory, so that the states of many runs need not fit at once.
            state: dict[str, Any] = torch.load(
                path, map_location="cpu", weights_only=True, mmap=True
            )
            epoch, step = state["position"]
            is_readable = state["version"] == STATE_VERSION and epoch >= 1 and step >= 0
            bad = first_non_finite({**state["student"], **state["distiller"]})
        # A corrupt file can raise any exception; all mean the same to the user.
        except Exception as error:
            raise RequestError(f"{path}: {CORRUPT_STATE}") from error
        if not is_readable or bad is not None:
            raise RequestError(f"{path}: {CORRUPT_STATE}")
        return state

    def remove_stale_files(self) -> None:
        """Remove temporary files that a killed process has left."""
        remove_temporary_files(self.path)

    def start(self, preset: Preset, details: Mapping[str, Any]) -> None:
        """Write the preset, the source of a plug-in method, and run.json."""
        write_text(self.path / PRESET, to_yaml(preset))
        for name, source in plugin_sources(preset).items():
            if source is not None:
                write_text(self.path / name, source)
        previous = self.info()
        versions = {
            "lskd": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
        info = RunInfo(
            state="running",
            started=(previous.started if previous else None) or _now(),
            seconds=previous.seconds if previous else 0.0,
            method_title=method_title(preset.method),
            versions=versions,
            best=previous.best if previous else None,
            last=previous.last if previous else None,
            **details,
        )
        write_run_info(self.path, info)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state of a student, from which a later process resumes."""
        content = io.BytesIO()  # torch.save itself does not report a full disk
        torch.save(state, content)
        write_atomically(self.path / RESUME, lambda file: file.write_bytes(content.getbuffer()))

    def save_epoch(self, result: EpochResult) -> None:
        """Write the results of an epoch: weights, metrics and state.

        Raises:
            RunError: a file cannot be written.
        """
        for name, (weights, metadata) in result.weights.items():
            if name == "last" and result.is_best:
                save_checkpoint(self.path / BEST, weights, metadata)
            save_checkpoint(self.path / WEIGHT_FILES[name], weights, metadata)
        write_metrics(self.path, result.history)
        self.save_state(result.state)
        self.update(**_progress(result.history, result.best))

    def update(self, **changes: Any) -> None:
        """Change entries of run.json."""
        info = self.info()
        if info is not None:
            write_run_info(self.path, info.model_copy(update=changes))

    def finish(self, history: Sequence[Metrics], best: Metrics | None) -> None:
        """Mark the run as done, and remove its state, which is no longer needed.

        Args:
            history: metrics of all epochs.
            best: metrics of the best one.
        """
        self.update(state="done", finished=_now(), **_progress(history, best))
        (self.path / RESUME).unlink(missing_ok=True)


def plugin_sources(preset: Preset) -> dict[str, str | None]:
    """Sources of the method and the student, if user-provided files define them, by file name."""
    return {METHOD: method_source(preset), MODEL: model_source(preset.student)}


def _progress(history: Sequence[Metrics], best: Metrics | None) -> dict[str, Any]:
    """Entries of run.json that depend on the finished epochs."""
    seconds = sum(epoch["seconds"] for epoch in history)
    return {"best": best, "last": history[-1], "seconds": seconds}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
