"""SimKD: the student that it trains, and how it is stored and loaded."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import load_preset
from lskd_cli.distillers import StepInputs, create_distiller
from lskd_cli.engine.inference.trained_network import load_student
from lskd_cli.errors import RequestError
from lskd_cli.models import create_model, is_model, simkd_name
from tests.engine.helpers import digits_preset, run_path, train


def test_the_student_has_the_teachers_classifier_and_its_own_layers() -> None:
    torch.manual_seed(0)
    preset = load_preset("simkd-r32x4-r8x4", ["method.feature_weight=0.7"])
    teacher = create_model("resnet32x4").eval()
    student = create_model(preset.student_model)
    distiller = create_distiller(preset, teacher, torch.arange(9), student)
    assert torch.equal(student.linear.weight, teacher.fc.weight)
    assert torch.equal(student.linear.bias, teacher.fc.bias)
    assert not student.linear.weight.requires_grad
    assert student.backbone.classifier_layer() is None
    images = torch.randn(4, 3, 32, 32)
    output, other = student.forward_features(images), teacher.forward_features(images)
    expected = student.linear(student.projector(output.feats[-1]).mean((2, 3)))
    torch.testing.assert_close(output.logits, expected, rtol=1e-3, atol=1e-4)
    step = StepInputs(
        {"weak": output}, {"weak": other}, torch.arange(4), torch.ones(()), torch.arange(4)
    )
    losses = distiller.losses(step)
    torch.testing.assert_close(losses["simkd"], 0.7 * F.mse_loss(output.final_map, other.final_map))
    assert losses["ce"] == 0
    assert not list(distiller.parameters())


@pytest.mark.parametrize(
    "name",
    ["ShuffleV1", "MobileNetV2", "wrn_16_2", "vgg8", "timm/resnet10t", "torchvision/resnet18"],
)
def test_other_students_are_extended_too(name: str) -> None:
    size = 64 if "/" in name else 32
    network = create_model(simkd_name(name, "resnet20", 2), 10, size).eval()
    assert network(torch.randn(2, 3, size, size)).shape == (2, 10)
    copied = create_model(simkd_name(name, "resnet20", 2), 10, size)
    copied.load_state_dict(network.state_dict())


@pytest.mark.usefixtures("small_digits")
def test_the_student_of_a_run_is_loaded(tmp_path: Path) -> None:
    preset = digits_preset("simkd", False, 1)
    train([preset], tmp_path)
    student = load_student(run_path(tmp_path, preset))
    assert student.model == "simkd:resnet8:resnet20:2"
    teacher = load_checkpoint(tmp_path / "checkpoints" / "resnet20.safetensors")
    linear = teacher.load_network("resnet20", 10, 16).fc
    assert torch.equal(student.network.linear.weight, linear.weight)


def test_names_and_requests_that_do_not_fit_are_refused() -> None:
    for name in ("simkd:resnet8", "simkd:resnet8:nothing:2", "simkd:resnet8:resnet20:0"):
        assert not is_model(name)
    with pytest.raises(RequestError, match="init: not supported with method simkd"):
        load_preset("simkd-r56-r20", ["init=pretrained"])
    with pytest.raises(RequestError, match="at most the 64 channels"):
        create_model(simkd_name("resnet8", "resnet20", 65))
    with pytest.raises(RequestError, match="deit_tiny has no feature map before the pooling"):
        create_model(simkd_name("resnet8", "deit_tiny", 2))
