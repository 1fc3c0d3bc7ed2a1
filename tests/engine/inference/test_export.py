"""Exported files: batches of any size for every network, and what stands in their way."""

import os
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.data import load_splits
from lskd_cli.engine.inference import export
from lskd_cli.engine.inference.export import (
    ExportFormat,
    export_network,
    load_exported,
    locked_output,
)
from lskd_cli.engine.inference.trained_network import TrainedNetwork, load_trained_network
from lskd_cli.errors import RequestError
from lskd_cli.io.locks import file_lock
from lskd_cli.models import create_model, list_models
from lskd_cli.preprocessing import Preprocessing

LIBRARIES = (
    "timm/resnet10t", "timm/mobilenetv3_small_050", "timm/vit_tiny_patch16_224",
    "timm/convnext_atto", "timm/efficientnet_b0", "timm/regnetx_002", "torchvision/resnet18",
    "torchvision/mobilenet_v3_small", "torchvision/shufflenet_v2_x0_5", "torchvision/squeezenet1_1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_IMAGES", 16)


def _student(folder: Path, model: str) -> TrainedNetwork:
    fixed = {"timm/vit_tiny_patch16_224": 224}
    size = fixed.get(model, 32 if model.startswith(("resnet", "wrn", "vgg", "Mob", "Shu")) else 64)
    torch.manual_seed(0)
    network = create_model(model, 10, size)
    view = Preprocessing(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bicubic", 1.0)
    metadata = {"model": model, "num_classes": "10", "dataset": "digits"}
    path = folder / "weights.safetensors"
    state = {key.removeprefix("network."): value for key, value in network.state_dict().items()}
    save_checkpoint(path, state, metadata | {"preprocessing": view.to_json()})
    return load_trained_network(path)


def _outputs(folder: Path, model: str, format_: ExportFormat) -> list[tuple[Tensor, Tensor]]:
    """Logits of the exported file and of the network for batches of 1, 2 and 5 images."""
    student = _student(folder, model)
    path = folder / "exported"
    images = load_splits(student.data, folder, lambda done, total: None).test
    export_network(student, path, format_, "mit", images)
    run = load_exported(path, format_)
    size = student.preprocessing.image_size
    outputs = []
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, size, size)
        with torch.no_grad():
            outputs.append((run(images), student.network(images)))
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "torch-export"])
@pytest.mark.parametrize("model", [*list_models(), *LIBRARIES])
def test_every_network_takes_batches_of_any_size(
    tmp_path: Path, model: str, format_: ExportFormat
) -> None:
    for found, expected in _outputs(tmp_path, model, format_):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_file_that_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    message = r"--out .*pipe: must be the path of a file or folder"
    with pytest.raises(RequestError, match=message), locked_output(pipe):
        pass
    assert pipe.is_fifo()


def test_an_empty_path_is_refused() -> None:
    message = r"--out \.: must be the path of a file or folder"
    with pytest.raises(RequestError, match=message), locked_output(Path()):
        pass


def test_files_of_a_killed_export_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".a.onnx.0123abcd.tmp"
    left.touch()
    with locked_output(tmp_path / "a.onnx"):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_exports_to_the_same_path_wait_for_each_other(tmp_path: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with locked_output(tmp_path / "hub"):
            entered.set()

    with file_lock(tmp_path / "hub", wait=True):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(timeout=30)
    assert entered.is_set()
