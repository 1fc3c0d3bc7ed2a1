"""lskd doctor: what it prints, and a self-test that fails."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from lskd_cli import __version__
from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.engine import diagnosis
from lskd_cli.engine.devices.compile import Warn
from lskd_cli.engine.devices.cuda_graphs import GraphRunner, StepRunner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training import dry_run
from tests.cli.helpers import Result, lskd
from tests.engine.fake_graph_recorder import FakeGraphRecorder
from tests.engine.helpers import CPU

Capture = pytest.CaptureFixture[str]


def _doctor(capsys: Capture, root: Path, *more: object) -> Result:
    folders = ("--data-dir", root / "data", "--checkpoints-dir", root / "checkpoints")
    return lskd(capsys, "doctor", "--device", "cpu", *folders, *more)


def test_it_describes_the_machine_and_trains_a_step(tmp_path: Path, capsys: Capture) -> None:
    metadata = {"model": "resnet8", "top1": "60.00"}
    weights = {"weight": torch.zeros(3)}
    save_checkpoint(tmp_path / "checkpoints" / "good.safetensors", weights, metadata)
    (tmp_path / "checkpoints" / "bad.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "data" / "cifar-100-python").mkdir(parents=True)
    result = _doctor(capsys, tmp_path, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["system"]["torch_version"] == torch.__version__
    assert {"lskd", "timm", "typer"} <= found["versions"].keys()
    assert found["device"]["name"] == "cpu"
    assert found["self_test"]["training_step"].startswith("passed (loss ")
    assert found["self_test"]["graphs"] == "not tried: requires CUDA"
    assert found["data"]["cifar100"] == str(tmp_path / "data" / "cifar-100-python")
    assert found["teachers"]["good.safetensors"] == "resnet8, 60.00 % top-1"
    assert "not a readable safetensors file" in found["teachers"]["bad.safetensors"]


def test_it_prints_lines_also_in_a_clone_that_is_not_installed(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version_of_others(name: str) -> str:
        if name == "lskd":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(diagnosis, "version", version_of_others)
    result = _doctor(capsys, tmp_path)
    assert result.code == 0, result.err
    assert f"lskd                     {__version__}" in result.out
    assert "self test\n  training_step            passed" in result.out
    assert not (tmp_path / "data").exists()


def test_a_failed_self_test_has_exit_code_1(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel image\nmore")

    monkeypatch.setattr(diagnosis, "dry_run", fail)
    result = _doctor(capsys, tmp_path)
    assert result.code == 1
    assert result.out.endswith("\nteachers\n  none found\n")
    assert all(
        line.startswith("  ") or line.replace(" ", "").isalpha() for line in result.out.splitlines()
    )
    assert "failed: RuntimeError: no kernel image\n" in result.out
    assert "the self-test failed" in result.err


@pytest.mark.parametrize("errs", [False, True])
def test_captured_steps_are_compared_with_eager_ones(
    monkeypatch: pytest.MonkeyPatch, errs: bool
) -> None:
    recorder = FakeGraphRecorder()
    if errs:
        monkeypatch.setattr(recorder, "capture", lambda function: lambda: None)

    def create_runner(runtime: Runtime, warn: Warn) -> StepRunner:
        return GraphRunner(recorder, 2, warn)

    monkeypatch.setattr(dry_run, "create_runner", create_runner)
    warnings = dry_run.graphs_self_test(CPU)
    assert (recorder.captures, recorder.replays) == ((0, 0) if errs else (1, 2))
    assert len(warnings) == errs
