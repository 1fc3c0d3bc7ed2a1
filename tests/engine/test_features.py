"""Methods of features in training: two epochs of digits, stopped and gone on with, in one pass."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.loop import Listener
from lskd_cli.engine.request import prepared
from lskd_cli.engine.team import ALONE, Team
from lskd_cli.errors import Interrupted
from lskd_cli.models import create_model
from tests.distillers.test_features import METHODS
from tests.engine.helpers import (
    CPU,
    after,
    digest,
    digits_preset,
    metrics,
    places,
    run_path,
    silent,
    train,
)

# A fifth of the digits, in five steps an epoch; few negatives, as of few images.
FEW = ("data.limit_train=300", "optimizer.lr=0.01")


def _preset(method: str, *more: str) -> Preset:
    return digits_preset(method, False, 2, *FEW, *more)


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_ends_as_the_undisturbed_one(method: str, tmp_path: Path) -> None:
    preset = _preset(method)
    train([preset], tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train([preset], tmp_path / "stopped", stopping=after(7))
    train([preset], tmp_path / "stopped")
    folders = [run_path(tmp_path / root, preset) for root in ("undisturbed", "stopped")]
    assert len({digest(folder / "student.safetensors") for folder in folders}) == 1
    losses = [[record[f"train_{method}"] for record in metrics(folder)] for folder in folders]
    assert losses[0] == losses[1]
    alone = load_checkpoint(folders[0] / "student.safetensors").network("resnet8", 10, 32)
    assert sum(values.numel() for values in alone.parameters()) < 100_000


def test_arms_of_a_pass_share_the_teachers_features(tmp_path: Path) -> None:
    presets = [_preset("kd"), _preset("crd"), _preset("ofd")]
    with prepared(presets, places(tmp_path), CPU, silent) as job:
        assert [len(one.runs) for one in job.passes] == [3]
    train(presets, tmp_path / "together")
    for preset in presets[1:]:
        train([preset], tmp_path / "alone")
        files = [
            run_path(tmp_path / root, preset) / "student.safetensors"
            for root in ("together", "alone")
        ]
        assert digest(files[0]) == digest(files[1])
    info = json.loads((run_path(tmp_path / "together", presets[1]) / "run.json").read_text())
    assert info["added_parameters"] == 2 * (64 * 128 + 128)


def test_a_pass_with_a_method_that_cannot_be_recorded_says_so(tmp_path: Path) -> None:
    class Hears(Listener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def notice(self, message: str) -> None:
            self.heard.append(message)

    hears = Hears()
    train([_preset("kdsvd")], tmp_path, hears, compute=replace(CPU, graphs=True))
    assert hears.heard == ["--graphs: steps of kdsvd cannot be recorded; without"]


def test_batch_norms_of_adapters_are_synchronized_too() -> None:
    team = replace(ALONE, size=2)
    compute = replace(CPU, device=torch.device("meta"), team=team)
    preset = _preset("fitnet", "sync_batchnorm=true")
    with (
        patch.object(Team, "joined", lambda team, module, uses_all: module),
        patch("lskd_cli.engine.arm.create_optimizer"),
    ):
        arm = Arm(preset, compute, create_model("resnet20", 10), torch.arange(10))
    norms = [m for m in arm.learner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert {type(norm) for norm in norms} == {nn.SyncBatchNorm}


def test_the_state_of_a_run_holds_what_its_method_has_learnt_and_remembers(tmp_path: Path) -> None:
    preset = _preset("crd")
    with pytest.raises(Interrupted):
        train([preset], tmp_path, stopping=after(7))
    path = run_path(tmp_path, preset) / "resume.pt"
    state = torch.load(path, weights_only=True)["distiller"]
    assert state["student_bank.entries"].shape == (300, 128)
    assert {"of_student.weight", "of_teacher.bias", "teacher_bank.constant"} <= set(state)
    assert not any("negatives" in name for name in state)
