"""Records of training for other tools, beside metrics.jsonl: TensorBoard, Weights & Biases."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from lskd_cli.config import Preset
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.loop import Listener
from lskd_cli.errors import RequestError


class Log(Protocol):
    """Told of every finished epoch of one run."""

    def epoch(self, record: Mapping[str, float]) -> None:
        """A line of metrics.jsonl."""

    def close(self) -> None:
        """No more will come in this process."""


class TensorBoardLog:
    """Events in the run's folder."""

    def __init__(self, preset: Preset, folder: Path, done: int) -> None:
        """Go on after so many epochs; what an interrupted run wrote of later ones is forgotten."""
        from torch.utils.tensorboard import SummaryWriter

        make: Any = SummaryWriter
        self.writer = make(str(folder / "tensorboard"), purge_step=done + 1)

    def epoch(self, record: Mapping[str, float]) -> None:
        for name, value in record.items():
            if name != "epoch":
                self.writer.add_scalar(name.replace("_", "/", 1), value, int(record["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WandbLog:
    """A run of the project lskd, kept in the run's folder; WANDB_MODE=offline needs no network."""

    def __init__(self, preset: Preset, folder: Path, done: int) -> None:
        """Go on with the run of this folder, if it was begun before."""
        import wandb

        # Of the folder, so that a resumed run is one run there too, and other folders' are others.
        identity = folder / "wandb-id"
        if not identity.exists():
            folder.mkdir(parents=True, exist_ok=True)
            identity.write_text(secrets.token_hex(4), encoding="utf-8")
        self.run = wandb.init(
            project="lskd",
            name=preset.run_path,
            id=identity.read_text(encoding="utf-8"),
            dir=str(folder),
            config=preset.model_dump(exclude_none=True),
            resume="allow",
            reinit="create_new",  # the arms of a pass are runs side by side
        )

    def epoch(self, record: Mapping[str, float]) -> None:
        self.run.log(dict(record), step=int(record["epoch"]))

    def close(self) -> None:
        self.run.finish()


LOGS: dict[str, Callable[[Preset, Path, int], Log]] = {
    "tensorboard": TensorBoardLog,
    "wandb": WandbLog,
}


def check_logs(names: Iterable[str]) -> None:
    """See that these logs can be written here.

    Raises:
        RequestError: there is no such log, or its package is not installed.
    """
    for name in names:
        if name not in LOGS:
            raise RequestError(f"--log {name}: expected {', '.join(LOGS)}")
        if find_spec(name) is None:
            raise RequestError(f"--log {name}: not installed; pip install {name}")


def open_logs(names: Iterable[str], preset: Preset, folder: Path, done: int) -> list[Log]:
    """The named logs of a run in its folder, which go on after so many epochs.

    Raises:
        RequestError: one cannot be opened.
    """
    logs = []
    for name in dict.fromkeys(names):
        try:
            logs.append(LOGS[name](preset, folder, done))
        except Exception as error:  # of a disk, a network, a foreign library
            raise RequestError(f"--log {name}: {error}") from error
    return logs


class Logged(Listener):
    """Passes everything on to another listener, and finished epochs to logs too.

    A log that fails is closed, which is said once: training goes on.
    """

    def __init__(self, shown: Listener, logs: Mapping[str, Sequence[Log]]) -> None:
        """Take the logs of each arm, by the path of its run."""
        self.shown = shown
        self.logs = {path: list(of_arm) for path, of_arm in logs.items()}

    def epoch_begins(self, epoch: int, step: int, steps: int) -> None:
        self.shown.epoch_begins(epoch, step, steps)

    def steps_done(
        self, images: int, peek: Callable[[], dict[str, dict[str, float]]] | None
    ) -> None:
        self.shown.steps_done(images, peek)

    def notice(self, message: str) -> None:
        self.shown.notice(message)

    def epoch_done(self, arm: Arm) -> None:
        self.shown.epoch_done(arm)
        path = arm.preset.run_path
        for log in list(self.logs.get(path, ())):
            self._try(path, log, partial(log.epoch, arm.history[-1]))

    def close(self) -> None:
        """Close all logs."""
        for path, logs in self.logs.items():
            for log in list(logs):
                self._try(path, log, log.close)

    def _try(self, path: str, log: Log, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # of a disk, a network, a foreign library
            self.logs[path].remove(log)
            self.notice(f"{path}: {type(log).__name__} ends: {error}")
