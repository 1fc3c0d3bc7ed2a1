"""Loggers of metrics besides metrics.jsonl: TensorBoard and Weights & Biases."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from lskd_cli.config import Preset
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import RequestError


class MetricLogger(Protocol):
    """Logs the metrics of every finished epoch of one run."""

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        """Log a line of metrics.jsonl."""

    def close(self) -> None:
        """Finish logging in this process."""


class TensorBoardLogger:
    """Writes events to the folder of the run."""

    name = "TensorBoard"

    def __init__(self, preset: Preset, folder: Path, finished_epochs: int) -> None:
        """Continue after the finished epochs; events of later epochs are purged."""
        from torch.utils.tensorboard import SummaryWriter

        create: Any = SummaryWriter
        self.writer = create(str(folder / "tensorboard"), purge_step=finished_epochs + 1)

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name != "epoch":
                self.writer.add_scalar(name.replace("_", "/", 1), value, int(metrics["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WandbLogger:
    """Logs to the W&B project lskd, with files in the folder of the run.

    WANDB_MODE=offline needs no network.
    """

    name = "Weights & Biases"

    def __init__(self, preset: Preset, folder: Path, finished_epochs: int) -> None:
        """Continue the W&B run of this folder if there is one."""
        import wandb

        # The ID belongs to the folder, so that a resumed run is also resumed in W&B.
        id_file = folder / "wandb-id"
        if not id_file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            id_file.write_text(secrets.token_hex(4), encoding="utf-8")
        self.run = wandb.init(
            project="lskd",
            name=preset.run_path,
            id=id_file.read_text(encoding="utf-8"),
            dir=str(folder),
            config=preset.model_dump(exclude_none=True),
            resume="allow",
            reinit="create_new",  # students that are trained together are separate W&B runs
        )

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=int(metrics["epoch"]))

    def close(self) -> None:
        self.run.finish()


LOGGERS: dict[str, Callable[[Preset, Path, int], MetricLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
}


def check_loggers(names: Iterable[str]) -> None:
    """Check that the packages of loggers are installed.

    Raises:
        RequestError: a package is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise RequestError(f"--logger {name}: not installed; run pip install {name}")


def open_loggers(
    names: Iterable[str], preset: Preset, folder: Path, finished_epochs: int
) -> list[MetricLogger]:
    """Open the named loggers of a run, which continue after the finished epochs.

    Raises:
        RequestError: a logger cannot be opened.
    """
    loggers = []
    for name in dict.fromkeys(names):
        try:
            loggers.append(LOGGERS[name](preset, folder, finished_epochs))
        except Exception as error:  # a disk, a network or a library may raise any exception
            raise RequestError(f"--logger {name}: {error}") from error
    return loggers


class LoggingCallback(Callback):
    """Logs the metrics of finished epochs.

    A logger that fails is closed with one warning, and the training continues.
    """

    def __init__(
        self, loggers: Mapping[str, Sequence[MetricLogger]], warn: Callable[[str], None]
    ) -> None:
        """Use the loggers of each student.

        Args:
            loggers: the loggers by the path of their run.
            warn: called with a message for the user.
        """
        self.loggers = {path: list(run_loggers) for path, run_loggers in loggers.items()}
        self.warn = warn

    def on_epoch_end(self, student: StudentTrainer) -> None:
        path = student.preset.run_path
        for logger in list(self.loggers.get(path, ())):
            self._try(path, logger, partial(logger.log_epoch, student.history[-1]))

    def close(self) -> None:
        """Close all loggers."""
        for path, loggers in self.loggers.items():
            for logger in list(loggers):
                self._try(path, logger, logger.close)

    def _try(self, path: str, logger: MetricLogger, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a disk, a network or a library may raise any exception
            self.loggers[path].remove(logger)
            name = getattr(logger, "name", type(logger).__name__)
            self.warn(f"{path}: {name} logging disabled: {error}")
