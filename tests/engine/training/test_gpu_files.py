"""Images in files, and torchrun, on a CUDA device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lskd_cli.config import load_preset
from lskd_cli.data import create_loader, eval_batches, load_splits
from lskd_cli.preprocessing import Preprocessing
from tests.image_folders import CLASSES, make_folder

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
SETTINGS = ["data.name=imagefolder", f"data.num_classes={CLASSES}", "data.batch_size=16"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_folder(tmp_path / "images", train=3, val=2)


def test_batches_that_are_sent_ahead_are_those_of_a_cpu(folder: Path) -> None:
    data = load_preset("mlkd-imagenet-r34-r18", [*SETTINGS, "data.image_size=64"]).data
    train = load_splits(data, folder, lambda *_: None).train
    batches = []
    for device in (torch.device("cpu"), CUDA):
        loader = create_loader(train.to(device), data)
        loader.start_epoch(1, ["weak", "strong"], 0)
        steps = range(loader.num_steps)
        batches.append([loader.make_batch(loader.batch_spec(step, 1)) for step in steps])
    for on_cpu, on_cuda in zip(*batches, strict=True):
        assert on_cuda.target.device.type == "cuda"
        assert torch.equal(on_cuda.target.cpu(), on_cpu.target)
        for view, images in on_cpu.views.items():
            torch.testing.assert_close(on_cuda.views[view].cpu(), images)


def test_test_images_are_those_of_a_cpu(folder: Path) -> None:
    data = load_preset("kd-imagenet-r34-r18", [*SETTINGS, "data.image_size=64"]).data
    test = load_splits(data, folder, lambda *_: None).test
    parts = [
        torch.cat(
            [
                images.cpu()
                for images, _ in eval_batches(test.to(device), Preprocessing.of_data(data))
            ]
        )
        for device in (torch.device("cpu"), CUDA)
    ]
    torch.testing.assert_close(*parts)


def test_torchrun_trains_on_every_gpu_with_synchronized_batch_norms(
    folder: Path, tmp_path: Path
) -> None:
    preset = ["--preset", "teacher-imagenet-resnet34", "--dataset", "imagefolder", "--epochs", "1"]
    count = torch.cuda.device_count()
    settings = ["data.image_size=64", f"data.batch_size={8 * count}", "sync_batchnorm=true"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    folders = ["--data-dir", str(folder), "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
         "-m", "lskd_cli", "train", *preset, *chosen, *folders],
        capture_output=True, text=True, timeout=300, env=os.environ.copy(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
