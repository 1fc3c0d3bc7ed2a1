"""The Python functions of docs/python.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import lskd_cli
from lskd_cli import distillation_loss, load_student
from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.distillers.dkd import dkd_loss
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.errors import RequestError

TEXT = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
STUDENT, TEACHER = torch.randn(6, 10), torch.randn(6, 10)
TARGET = torch.arange(6)


def test_the_blocks_of_the_document_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    names: dict[str, object] = {}
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        exec(block, names)
    assert names["ours"].item() > 0  # type: ignore[attr-defined]
    only_kd = kd_loss(names["student_logits"], names["teacher_logits"], 2)  # type: ignore[arg-type]
    torch.testing.assert_close(names["only_kd"], 0.9 * only_kd)


def test_a_student_predicts_images_of_any_size_and_mode(trained: Path) -> None:
    student = load_student(trained / "runs" / "kd-digits" / "seed0")
    modes = {"L": (9, 50), "RGBA": (64, 32), "RGB": (32, 32)}
    images = [Image.new(mode, size, 100) for mode, size in modes.items()]
    probabilities = student.probabilities(images)
    assert probabilities.shape == (3, 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    top = student.predict(images, top_k=20)
    assert [len(row) for row in top] == [10] * 3
    assert top[0][0].probability == pytest.approx(float(probabilities[0].max()))
    assert top[0][0].class_name == str(int(probabilities[0].argmax()))


def test_the_requested_weights_are_loaded(trained_copy: Path) -> None:
    run = trained_copy / "runs" / "kd-digits" / "seed0"
    best = load_checkpoint(run / "best.safetensors")
    weights = {name: tensor + 1 for name, tensor in best.weights.items()}
    save_checkpoint(run / "best.safetensors", weights, best.metadata)
    last = load_checkpoint(run / "student.safetensors").weights["fc.bias"]
    for name, expected in (("last", last), ("best", weights["fc.bias"])):
        found = load_student(run, weights=name).network.state_dict()["fc.bias"]
        torch.testing.assert_close(found, expected)


def test_the_loss_is_that_of_the_method() -> None:
    found = distillation_loss("kd", STUDENT, TEACHER, TARGET)
    ce = F.cross_entropy(STUDENT, TARGET)
    torch.testing.assert_close(found, 0.1 * ce + 0.9 * kd_loss(STUDENT, TEACHER, 4))
    found = distillation_loss("kd", STUDENT, TEACHER, TARGET, standardized=True)
    torch.testing.assert_close(found, 0.1 * ce + 9 * kd_loss(STUDENT, TEACHER, 2, True))
    found = distillation_loss("kd", STUDENT, TEACHER, TARGET, True, temperature=3, kd_weight=5)
    torch.testing.assert_close(found, 0.1 * ce + 5 * kd_loss(STUDENT, TEACHER, 3, True))
    found = distillation_loss("dkd", STUDENT, TEACHER, TARGET, beta=2)
    torch.testing.assert_close(found, ce + dkd_loss(STUDENT, TEACHER, TARGET, 1, 2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kdd",), "method 'kdd': unknown; choose one of fitnet, kd, "),
        (("mlkd",), "method mlkd: not a loss of the logits of one view"),
        (("kd", {"temperature": 0}), "method kd: temperature: Input should be greater than 0"),
        (("kd", {"beta": 1}), "method kd: beta: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_request_is_refused(arguments: tuple, message: str) -> None:
    method, *settings = arguments
    with pytest.raises(RequestError, match=re.escape(message)):
        distillation_loss(method, STUDENT, TEACHER, TARGET, **(settings[0] if settings else {}))


def test_names_of_classes_must_fit(trained: Path) -> None:
    with pytest.raises(RequestError, match="has 10 classes, but there are 2 class names"):
        load_student(trained / "runs" / "kd-digits" / "seed0", class_names=["a", "b"])


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, lskd_cli; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lskd_cli.nothing


def test_a_path_that_is_too_long_does_not_exist() -> None:
    with pytest.raises(RequestError, match="no such run or weight file"):
        load_student("a" * 5000)


def test_images_may_come_from_a_generator_and_in_any_number(trained: Path) -> None:
    student = load_student(trained / "runs" / "kd-digits" / "seed0")
    images = [Image.new("RGB", (20, 20), (index, 0, 0)) for index in range(70)]
    found = student.predict(image for image in images)  # type: ignore[arg-type]
    assert len(found) == 70
    (alone,) = student.predict(images[69:])
    assert found[69][0].class_name == alone[0].class_name
    assert found[69][0].probability == pytest.approx(alone[0].probability, rel=1e-4)
