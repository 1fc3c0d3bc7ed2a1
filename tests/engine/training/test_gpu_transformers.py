"""Transformers on a CUDA device; run with make test-gpu."""

from pathlib import Path

import pytest

from lskd_cli.engine.devices.runtime import resolve_runtime
from tests.engine.helpers import metrics, run_path, train
from tests.engine.training.test_gpu import NoWarning
from tests.engine.training.test_transformers import _preset, _teacher

pytestmark = pytest.mark.gpu
# Without what each device draws for itself.
CERTAIN = ("drop_path=0", "data.augmentation.erasing=0")
NAMES = ["kd-r56g-deit-tiny", "guidance-r56g-deit-tiny", "kd-r56g-pvt-v2-b0", "kd-r56g-cvt-13"]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_epoch_on_a_gpu_is_that_of_the_cpu(name: str, tmp_path: Path) -> None:
    short = ("schedule.epochs=1", "schedule.warmup_epochs=0")
    preset = _preset(name, *CERTAIN, "data.image_size=64", *short)
    for device in ("cpu", "cuda"):
        _teacher(tmp_path / device)
        train([preset], tmp_path / device, runtime=resolve_runtime(device, "fp32"))
    (on_cpu,), (on_gpu,) = (metrics(run_path(tmp_path / d, preset)) for d in ("cpu", "cuda"))
    assert on_gpu["train_loss"] == pytest.approx(on_cpu["train_loss"], rel=1e-2)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*NAMES, "kd-r56g-t2t-vit-7"])
def test_graphs_train_as_eager_steps_do(name: str, compiled: bool, tmp_path: Path) -> None:
    preset = _preset(name, "drop_path=0.1", "data.image_size=64", "optimizer.clip_grad_norm=5")
    for graphs in (False, True):
        root = tmp_path / str(graphs)
        _teacher(root)
        runtime = resolve_runtime("cuda", "fp32", graphs, compiled)
        train([preset], root, NoWarning(), runtime=runtime)
    eager, replayed = (metrics(run_path(tmp_path / str(g), preset)) for g in (False, True))
    # Dropped paths are drawn in another order.
    assert replayed[-1]["train_loss"] == pytest.approx(eager[-1]["train_loss"], rel=0.1)
