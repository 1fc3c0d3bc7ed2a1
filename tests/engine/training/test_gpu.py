"""Tests that need a CUDA device; run with make test-gpu."""

from pathlib import Path

import pytest
import torch

from lskd_cli.config import Preset
from lskd_cli.data import CropLoader, load_splits
from lskd_cli.engine.devices.cuda_graphs import create_runner
from lskd_cli.engine.devices.runtime import resolve_runtime
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.joint_step import create_joint_step, student_views
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import create_model
from tests.distillers.test_features import METHODS as FEATURE_METHODS
from tests.engine.helpers import digits_preset, metrics, run_path, silent, train

METHODS = (
    *FEATURE_METHODS, "nkd", "skd", "crld", "sdd_kd", "sdd_dkd", "abkd", "wkd", "wkd_f", "ldrld",
    "simkd",
)  # fmt: skip
pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("small_digits")]


class NoWarning(Callback):
    def on_warning(self, message: str) -> None:
        pytest.fail(message)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-3), ("tf32", 1e-2), ("bf16", 3e-2)]
)
# crd draws other images on each device.
@pytest.mark.parametrize(
    "method", ["kd", "dkd", "mlkd", "ctkd", *(method for method in METHODS if method != "crd")]
)
def test_the_first_epoch_on_a_gpu_is_that_of_the_cpu(
    tmp_path: Path, method: str, precision: str, tolerance: float
) -> None:
    preset = digits_preset(method, epochs=1)
    train([preset], tmp_path / "cpu")
    train([preset], tmp_path / "cuda", runtime=resolve_runtime("cuda", precision))
    (on_cpu,), (on_gpu,) = (metrics(run_path(tmp_path / d, preset)) for d in ("cpu", "cuda"))
    assert on_gpu["train_loss"] == pytest.approx(on_cpu["train_loss"], rel=tolerance)


def _presets(method: str) -> list[Preset]:
    """The method, plain and standardized if it uses logits."""
    preset = digits_preset(method, False, 6)
    return [preset, preset.with_stand(True)] if preset.can_standardize else [preset]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["kd", "dkd", "mlkd", "ctkd", "at", "ofd", "rkd", "reviewkd"])
def test_graphs_train_as_eager_steps_do(tmp_path: Path, method: str, compiled: bool) -> None:
    presets = _presets(method)
    for graphs in (False, True):
        runtime = resolve_runtime("cuda", "fp32", graphs, compiled)
        train(presets, tmp_path / str(graphs), NoWarning(), runtime=runtime)
    for preset in presets:
        eager, replayed = (metrics(run_path(tmp_path / str(g), preset)) for g in (False, True))
        for one, other in zip(eager, replayed, strict=True):
            assert other["train_loss"] == pytest.approx(one["train_loss"], rel=3e-2)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("method", ["kd", "dkd", "mlkd", "ctkd", *METHODS])
def test_no_step_waits_for_the_device(method: str, graphs: bool) -> None:
    if method == "kdsvd":
        pytest.skip("PyTorch's eigh looks at its result")
    runtime = resolve_runtime("cuda", "bf16", graphs)
    presets, network = _presets(method), create_model("resnet20", 10)
    dataset = load_splits(presets[0].data, Path(), silent).to(runtime.device)
    splits_train = dataset.train
    students = [
        StudentTrainer(preset, runtime, network, splits_train.targets) for preset in presets
    ]
    loader = CropLoader(splits_train, students[0].preset.data)
    teacher = Teacher(network, runtime, students[0].distiller.required_features)
    runner = create_runner(runtime, pytest.fail)
    for student in students:
        student.start_epoch()
    loader.start_epoch(1, student_views(students), 0)
    spec = loader.batch_spec(0, 2)
    step = create_joint_step(loader, teacher, students)
    for _ in range(4):  # the last one is captured, if steps are
        runner.run(step, spec)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            runner.run(step, spec)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(student.meters.sums).all() for student in students)


@pytest.mark.slow
def test_thirty_epochs_of_fast_and_eager_steps_end_within_noise(tmp_path: Path) -> None:
    presets = [digits_preset("kd", True, 30, f"seed={seed}") for seed in range(3)]
    accuracies = []
    for fast in (False, True):
        runtime = resolve_runtime("cuda", "bf16" if fast else "fp32", graphs=fast)
        train(presets, tmp_path / str(fast), runtime=runtime)
        last = [metrics(run_path(tmp_path / str(fast), p))[-1]["test_top1"] for p in presets]
        accuracies.append(torch.tensor(last))
    spread = torch.cat(accuracies).std().item()
    assert abs(accuracies[0].mean() - accuracies[1].mean()).item() <= max(2 * spread, 2.0)
