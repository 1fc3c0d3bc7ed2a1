"""Loggers: complete after a resumption, harmless when they fail."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lskd_cli.engine.training import loggers
from lskd_cli.engine.training.loggers import (
    LoggingCallback,
    TensorBoardLogger,
    check_loggers,
    open_loggers,
)
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import RequestError
from tests.cli.helpers import lskd
from tests.engine.helpers import CPU, SMALL_IMAGES, digits_preset, training_options

Capture = pytest.CaptureFixture[str]


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_has_every_epoch_once_also_after_a_resumption(tmp_path: Path) -> None:
    first = TensorBoardLogger(digits_preset(), tmp_path, 0)
    for epoch in (1, 2, 3):
        first.log_epoch({"epoch": epoch, "test_top1": 10.0 * epoch})
    first.close()
    # killed after its third epoch was logged and before it was saved
    second = TensorBoardLogger(digits_preset(), tmp_path, 2)
    second.log_epoch({"epoch": 3, "test_top1": 33.0})
    second.close()
    assert _scalars(tmp_path) == {"test/top1": [(1, 10.0), (2, 20.0), (3, 33.0)]}


class _Failing:
    def __init__(self) -> None:
        self.epochs = 0

    def log_epoch(self, record: Mapping[str, float]) -> None:
        self.epochs += 1
        raise OSError("disk full")

    def close(self) -> None:
        raise AssertionError("closed twice")


def test_a_failing_logger_is_disabled_with_one_warning() -> None:
    trainer = StudentTrainer(digits_preset(), CPU)
    trainer.history.append({"epoch": 1})
    log = _Failing()
    messages: list[str] = []
    callback = LoggingCallback({trainer.preset.run_path: [log]}, messages.append)
    callback.on_epoch_end(trainer)
    callback.on_epoch_end(trainer)
    callback.close()
    assert log.epochs == 1
    assert messages == ["kd-digits/seed0: _Failing logging disabled: disk full"]


def test_what_cannot_be_logged_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--logger wandb: not installed; run pip install wandb"):
        check_loggers(["wandb"])
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(RequestError, match="--logger tensorboard: "):
        open_loggers(["tensorboard"], digits_preset(), tmp_path, 0)


@pytest.mark.usefixtures("small_digits")
def test_train_and_compare_log_every_run(capsys: Capture, tmp_path: Path) -> None:
    where = training_options(tmp_path)
    folders = ("--runs-dir", where.runs_dir, "--checkpoints-dir", where.checkpoints_dir)
    fixed = ("--device", "cpu", "--precision", "fp32", "--epochs", 2, "--logger", "tensorboard")
    fixed += ("--set", SMALL_IMAGES)
    result = lskd(capsys, "compare", "--train", "--preset", "kd-digits", *folders, *fixed)
    assert result.code == 0, result.err
    for name in ("kd-digits", "kd-digits+stand"):
        folder = where.runs_dir / name / "seed0"
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert _scalars(folder)["test/top1"] == [
            (line["epoch"], pytest.approx(line["test_top1"])) for line in lines
        ]


@pytest.mark.slow  # starts the service of Weights & Biases
def test_wandb_works_offline_and_resumes_as_one_run(tmp_path: Path) -> None:
    # In a process of its own: the library starts a service and threads.
    script = """
import sys
from pathlib import Path
from lskd_cli.engine.training.loggers import open_loggers
from tests.engine.helpers import digits_preset
for done in (0, 1):
    logs = open_loggers(["wandb"], digits_preset(), Path(sys.argv[1]), done)
    logs[0].log_epoch({"epoch": done + 1, "test_top1": 50.0})
    logs[0].close()
"""
    environment = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "PATH": "",
        "HOME": str(tmp_path),
    }
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    identity = (tmp_path / "wandb-id").read_text()
    kept = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert kept
    assert {path.name for path in kept} == {f"run-{identity}.wandb"}
