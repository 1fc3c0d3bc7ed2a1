"""Transformers on a CUDA device; run with make test-gpu."""

from pathlib import Path

import pytest
import torch

from lskd_cli.data import create_loader, load_splits
from lskd_cli.engine.runtime import resolve_runtime
from tests.engine.helpers import metrics, run_path, silent, train
from tests.engine.test_gpu import NoWarning
from tests.engine.test_transformers import _preset, _teacher

pytestmark = pytest.mark.gpu
# Without what each device draws for itself.
CERTAIN = ("drop_path=0", "data.augmentation.erasing=0")
NAMES = ["kd-r56g-deit-tiny", "guidance-r56g-deit-tiny", "kd-r56g-pvt-v2-b0", "kd-r56g-cvt-13"]


def test_views_on_a_gpu_are_those_of_the_cpu() -> None:
    data = _preset("kd-r56g-deit-tiny", *CERTAIN, "data.image_size=224").data
    train_set = load_splits(data, Path(), silent).train
    views = []
    for device in ("cpu", "cuda"):
        loader = create_loader(train_set.to(torch.device(device)), data)
        loader.start_epoch(1, ["weak", "strong"], 0)
        batch = loader.make_batch(loader.batch_spec(1, 1))
        views.append([batch.views[view].cpu() for view in ("weak", "strong")])
    for on_cpu, on_gpu in zip(*views, strict=True):
        # A rounding apart, here and there an image whose threshold lies between two roundings.
        assert (on_cpu - on_gpu).abs().median().item() < 0.02
        assert (on_cpu - on_gpu).abs().mean().item() < 0.05


def test_views_are_made_without_waiting_for_the_device() -> None:
    data = _preset("kd-r56g-deit-tiny", "data.image_size=224").data
    loader = create_loader(load_splits(data, Path(), silent).train.to(torch.device("cuda")), data)
    loader.start_epoch(1, ["weak"], 0)
    loader.batch_spec(0, 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        specs = [loader.batch_spec(step, 1) for step in (1, 2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    views = [spec.views["weak"].normalized for spec in specs]
    assert all(view is not None and torch.isfinite(view).all() for view in views)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_epoch_on_a_gpu_is_that_of_the_cpu(name: str, tmp_path: Path) -> None:
    short = ("schedule.epochs=1", "schedule.warmup_epochs=0")
    preset = _preset(name, *CERTAIN, "data.image_size=64", *short)
    for device in ("cpu", "cuda"):
        _teacher(tmp_path / device)
        train([preset], tmp_path / device, runtime=resolve_runtime(device, "fp32"))
    (on_cpu,), (on_gpu,) = (metrics(run_path(tmp_path / d, preset)) for d in ("cpu", "cuda"))
    assert on_gpu["train_loss"] == pytest.approx(on_cpu["train_loss"], rel=1e-2)


@pytest.mark.parametrize("compiled", [False, True])
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
