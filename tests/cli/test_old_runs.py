"""A run folder that version 0.1.0 has left after 29 of 30 epochs and one step."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lskd_cli.config import load_preset
from tests.cli.helpers import lskd

KEPT = Path(__file__).parents[1] / "golden" / "run-0.1.0"
COMMAND = (
    "train", "--preset", "alone-digits", "--epochs", 30, "--limit-train", 200, "--device", "cpu",
    "--precision", "fp32",
)  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return shutil.copytree(KEPT, tmp_path / "runs")


def test_its_preset_is_read_with_the_keys_of_its_time() -> None:
    preset = load_preset(KEPT / "alone-digits" / "seed0" / "preset.yaml")
    assert preset.optimizer.clip_grad_norm == 5
    assert preset.optimizer.grad_accum_steps == 2
    assert preset.schedule.name == "multistep"


@pytest.mark.parametrize(
    "keys",
    [("clip_norm", "accumulate"), ("clip_grad_norm", "grad_accum_steps")],
    ids=["old", "new"],
)
def test_it_is_resumed_where_it_stopped(
    runs: Path, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs / "alone-digits" / "seed0"
    state = torch.load(folder / "resume.pt", weights_only=True)
    before = (folder / "metrics.jsonl").read_text().splitlines()
    overrides = [f"optimizer.{key}={value}" for key, value in zip(keys, (5, 2), strict=True)]
    options = [word for override in overrides for word in ("--set", override)]
    result = lskd(capsys, *COMMAND, *options, "--runs-dir", runs)
    assert result.code == 0, result.err
    assert state["position"] == (30, 1)
    after = (folder / "metrics.jsonl").read_text().splitlines()
    assert after[:29] == before
    assert [json.loads(line)["epoch"] for line in after] == list(range(1, 31))
    info = json.loads((folder / "run.json").read_text())
    assert info["state"] == "done"
    assert info["best"]["epoch"] == 29
    assert (folder / "student.safetensors").exists()
