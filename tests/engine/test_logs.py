"""Logs beside metrics.jsonl: whole after a resume, harmless when they fail."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lskd_cli.engine import logs
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.logs import Logged, TensorBoardLog, check_logs, open_logs
from lskd_cli.engine.loop import Listener
from lskd_cli.errors import RequestError
from tests.cli.helpers import lskd
from tests.engine.helpers import CPU, digits_preset, places

Capture = pytest.CaptureFixture[str]


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_is_told_every_epoch_once_also_after_a_resume(tmp_path: Path) -> None:
    first = TensorBoardLog(digits_preset(), tmp_path, 0)
    for epoch in (1, 2, 3):
        first.epoch({"epoch": epoch, "test_top1": 10.0 * epoch})
    first.close()
    # killed after its third epoch was logged and before it was saved
    second = TensorBoardLog(digits_preset(), tmp_path, 2)
    second.epoch({"epoch": 3, "test_top1": 33.0})
    second.close()
    assert _scalars(tmp_path) == {"test/top1": [(1, 10.0), (2, 20.0), (3, 33.0)]}


class _Failing:
    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self, record: Mapping[str, float]) -> None:
        self.epochs += 1
        raise OSError("disk full")

    def close(self) -> None:
        raise AssertionError("closed twice")


class _Notices(Listener):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def notice(self, message: str) -> None:
        self.messages.append(message)


def test_a_log_that_fails_ends_alone_and_is_told_once() -> None:
    arm = Arm(digits_preset(), CPU)
    arm.history.append({"epoch": 1})
    log, notices = _Failing(), _Notices()
    listener = Logged(notices, {arm.preset.run_path: [log]})
    listener.epoch_done(arm)
    listener.epoch_done(arm)
    listener.close()
    assert log.epochs == 1
    assert notices.messages == ["kd-digits/seed0: _Failing ends: disk full"]


def test_what_cannot_be_logged_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--log csv: expected tensorboard, wandb"):
        check_logs(["csv"])
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--log wandb: not installed; pip install wandb"):
        check_logs(["wandb"])
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(RequestError, match="--log tensorboard: "):
        open_logs(["tensorboard"], digits_preset(), tmp_path, 0)


@pytest.mark.usefixtures("small_digits")
def test_train_and_compare_log_every_run(capsys: Capture, tmp_path: Path) -> None:
    where = places(tmp_path)
    folders = ("--runs-dir", where.runs, "--checkpoints-dir", where.checkpoints)
    fixed = ("--device", "cpu", "--precision", "fp32", "--epochs", 2, "--log", "tensorboard")
    result = lskd(capsys, "compare", "--train", "--preset", "kd-digits", *folders, *fixed)
    assert result.code == 0, result.err
    for name in ("kd-digits", "kd-digits+stand"):
        folder = where.runs / name / "seed0"
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert _scalars(folder)["test/top1"] == [
            (line["epoch"], pytest.approx(line["test_top1"])) for line in lines
        ]


def test_wandb_works_without_a_network_and_goes_on_as_one_run(tmp_path: Path) -> None:
    # In a process of its own: the library starts a service and threads.
    script = """
import sys
from pathlib import Path
from lskd_cli.engine.logs import open_logs
from tests.engine.helpers import digits_preset
for done in (0, 1):
    logs = open_logs(["wandb"], digits_preset(), Path(sys.argv[1]), done)
    logs[0].epoch({"epoch": done + 1, "test_top1": 50.0})
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
