"""The example of docs/own-data.md, with fewer epochs and images."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from tests.cli.helpers import lskd

TEXT = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text()
COMMANDS = [
    shlex.split(line.removeprefix("$ lskd "))
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ lskd ")
]
LAST_BLOCK = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[-1]


def _write_images(root: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for number in range(10):
            folder = root / split / f"class {number}"
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = random.normal(25 * number, 30, (32, 32, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image}.png")


@pytest.mark.slow
def test_the_example_runs_in_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSKD_DATA_DIR", "ten")
    _write_images(tmp_path / "ten")
    torch.manual_seed(0)
    weights = timm.create_model("resnet10t", num_classes=1000).state_dict()
    save_checkpoint(tmp_path / "others.safetensors", weights, {})
    new = tmp_path / "new"
    new.mkdir()
    for number in (0, 4, 9):
        (tmp_path / "ten" / "val" / f"class {number}" / "0.png").rename(new / f"{number}.png")
    outputs = {}
    for command in COMMANDS:
        is_training = command[0] == "train" or "--train" in command
        shorter = ("--epochs=2", "--set=data.batch_size=16") if is_training else ()
        result = lskd(capsys, *command, *shorter)
        assert result.code == 0, result.err
        outputs[command[0]] = result
    assert list(outputs) == ["train", "compare", "eval", "export", "predict"]
    assert "84 of 86 tensors; new: fc.weight, fc.bias" in outputs["train"].err
    # Weights without lskd's metadata have the preparation of timm.
    teacher = load_checkpoint(tmp_path / "runs" / "finetune-own" / "seed0" / "student.safetensors")
    assert '"bicubic"' in teacher.metadata["preprocessing"]
    assert re.search(r"timm/resnet10t .* resnet8 +KD +2 +1", outputs["compare"].out)
    assert "logits differ by at most" in outputs["export"].err
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(LAST_BLOCK, {})
    found = [line.split("%")[0] for line in printed.getvalue().splitlines()]
    expected = [line.split("%")[0] for line in outputs["predict"].out.splitlines()]
    assert len(found) == 3
    assert found == expected
