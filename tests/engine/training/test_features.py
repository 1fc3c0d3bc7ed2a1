"""Training with feature methods: resumption and joint runs over two epochs of digits."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.engine.devices.distributed import SINGLE_PROCESS, ProcessGroup
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import Interrupted
from lskd_cli.models import create_model
from tests.distillers.test_features import METHODS
from tests.engine.helpers import (
    CPU,
    Hears,
    after,
    digest,
    digits_preset,
    metrics,
    run_path,
    silent,
    train,
    training_options,
)

pytestmark = pytest.mark.usefixtures("tiny_digits")
FEW = ("data.batch_size=16", "optimizer.lr=0.01")  # three steps an epoch


def _preset(method: str, *more: str) -> Preset:
    return digits_preset(method, False, 2, *FEW, *more)


RECENT = ("skd", "crld", "sdd_kd", "sdd_dkd", "wkd", "wkd_f", "simkd")


@pytest.mark.parametrize(
    "methods",
    [
        ("crd", "vid", "simkd"),  # a memory bank, added parameters, and an added network
        pytest.param(METHODS, marks=pytest.mark.slow),
        pytest.param(RECENT, marks=pytest.mark.slow),
    ],
    ids=["some", "features", "recent"],
)
def test_stopped_runs_end_as_the_undisturbed_ones(tmp_path: Path, methods: tuple[str, ...]) -> None:
    presets = [_preset(method) for method in methods]
    train(presets, tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(presets, tmp_path / "stopped", should_stop=after(4))
    train(presets, tmp_path / "stopped")
    for preset in presets:
        folders = [run_path(tmp_path / root, preset) for root in ("undisturbed", "stopped")]
        digests = {digest(folder / "student.safetensors") for folder in folders}
        assert len(digests) == 1, preset.name
        name = {"crld": "train_cross", "wkd": "train_transport"}.get(
            preset.method.name, f"train_{preset.method.name}"
        )
        losses = [[record[name] for record in metrics(folder)] for folder in folders]
        assert losses[0] == losses[1]
        weights = load_checkpoint(folders[0] / "student.safetensors")
        alone = weights.load_network(preset.student_model, 10, 16)
        assert sum(values.numel() for values in alone.parameters()) < 100_000


def test_students_of_a_joint_run_share_the_teachers_features(tmp_path: Path) -> None:
    presets = [_preset("kd"), _preset("crd"), _preset("ofd")]
    with prepare(presets, training_options(tmp_path), CPU, silent) as plan:
        assert [len(run.runs) for run in plan.joint_runs] == [3]
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


def test_a_method_without_cuda_graphs_is_reported(tmp_path: Path) -> None:
    hears = Hears()
    train([_preset("kdsvd")], tmp_path, hears, runtime=replace(CPU, graphs=True))
    assert hears.heard == ["--graphs: method kdsvd does not support CUDA graphs; disabled"]


def test_batch_norms_of_adapters_are_synchronized_too() -> None:
    group = replace(SINGLE_PROCESS, world_size=2)
    runtime = replace(CPU, device=torch.device("meta"), process_group=group)
    preset = _preset("fitnet", "sync_batchnorm=true")
    with (
        patch.object(ProcessGroup, "wrap_ddp", lambda group, module, all_params_used: module),
        patch(
            "lskd_cli.engine.training.student_trainer.create_optimizer",
            lambda *arguments: (None, None),
        ),
    ):
        trainer = StudentTrainer(preset, runtime, create_model("resnet20", 10), torch.arange(10))
    norms = [m for m in trainer.module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert {type(norm) for norm in norms} == {nn.SyncBatchNorm}


def test_the_state_of_a_run_contains_parameters_and_memories_of_its_method(tmp_path: Path) -> None:
    preset = _preset("crd")
    with pytest.raises(Interrupted):
        train([preset], tmp_path, should_stop=after(4))
    path = run_path(tmp_path, preset) / "resume.pt"
    state = torch.load(path, weights_only=True)["distiller"]
    assert state["student_bank.entries"].shape == (40, 128)
    assert {"of_student.weight", "of_teacher.bias", "teacher_bank.constant"} <= set(state)
    assert not any("negatives" in name for name in state)
