"""WKD: costs of classes, and what the methods make of their losses."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import load_preset
from lskd_cli.data.sets import digits
from lskd_cli.distillers import StepInputs, create_distiller
from lskd_cli.distillers.wkd import (
    classifier_cost,
    decay,
    wkd_feature_loss,
    wkd_logit_losses,
)
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.class_outputs import class_outputs
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.errors import RequestError
from lskd_cli.models import Output, create_model, feature_shapes


def _step(student: Output, teacher: Output, epoch: float) -> StepInputs:
    rows = torch.arange(len(student.logits))
    return StepInputs({"weak": student}, {"weak": teacher}, 7 * rows, torch.tensor(epoch), rows)


def _distiller(name: str, *settings: str, outputs: Tensor | None = None) -> Any:
    torch.manual_seed(0)
    preset = load_preset(name, settings)
    given = None if outputs is None else partial(torch.clone, outputs)
    teacher = create_model(str(preset.teacher))
    return create_distiller(preset, teacher, torch.arange(9), class_outputs=given)


@pytest.mark.parametrize("standardized", [False, True])
def test_wkd_returns_its_loss_function(standardized: bool) -> None:
    settings = ["method.ce_weight=0.3", "method.sharpness=1.3", "method.iterations=4"]
    settings += ["method.regularization=0.2"]
    if standardized:
        settings += ["stand.enabled=true", "stand.kd_weight=50", "stand.temperature=3"]
    else:
        settings += ["method.kd_weight=50", "method.temperature=3"]
    outputs = torch.randn(100, 6, 5)
    distiller = _distiller("wkd-r56-r20", *settings, outputs=outputs)
    student, teacher = torch.randn(4, 100), 3 * torch.randn(4, 100)
    epoch = 195.0  # half of the way from 150 to 240
    found = distiller.losses(_step(Output(student), Output(teacher), epoch))
    expected = wkd_logit_losses(
        student=student, teacher=teacher, target=7 * torch.arange(4), cost=distiller.cost,
        temperature=3.0, regularization=0.2, iterations=4, standardized=standardized,
    )  # fmt: skip
    assert list(found) == ["ce", "target", "transport"]
    torch.testing.assert_close(found["ce"], 0.3 * F.cross_entropy(student, 7 * torch.arange(4)))
    torch.testing.assert_close(found["target"], expected["target"])
    torch.testing.assert_close(found["transport"], 25 * expected["transport"])


def test_similar_classes_cost_less() -> None:
    outputs = torch.randn(100, 50, 5)
    outputs[1] = outputs[0] + 0.1 * torch.randn(50, 5)
    cost = _distiller("wkd-r56-r20", outputs=outputs).cost
    assert cost.shape == (100, 100)
    assert cost.diagonal().abs().max() == 0
    assert cost[0, 1] < 0.1 < cost[0, 2]


def test_the_cost_of_a_classifier_is_that_of_its_rows() -> None:
    weight = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    expected = torch.tensor([0.0, 0.0, 1.0, 2.0])
    torch.testing.assert_close(classifier_cost(weight, 0)[0], expected)
    torch.testing.assert_close(classifier_cost(weight, 1.5)[0], 1 - (-1.5 * expected).exp())
    distiller = _distiller("wkd-r56-r20", "method.cost=classifier")
    torch.manual_seed(0)
    layer = create_model("resnet56").classifier_layer()
    torch.testing.assert_close(distiller.cost, classifier_cost(layer.weight.detach(), 1))


@pytest.mark.parametrize(
    ("epoch", "factor"), [(1, 1.0), (150, 1.0), (195, 0.5), (240, 0.0), (300, 0.0)]
)
def test_the_weight_falls_to_zero_after_its_start(epoch: int, factor: float) -> None:
    assert decay(torch.tensor(float(epoch)), 150, 240).item() == pytest.approx(factor, abs=1e-6)


def test_wkd_f_returns_its_loss_function() -> None:
    settings = ["method.feature_weight=0.7", "method.mean_weight=2.5", "method.grid=2"]
    distiller = _distiller("wkd_f-r32x4-r8x4", *settings, "method.ce_weight=0.3")
    shapes = [feature_shapes(name, 32).feats for name in ("resnet8x4", "resnet32x4")]
    student, teacher = (
        Output(torch.randn(4, 100), [torch.randn(4, *shape) for shape in of]) for of in shapes
    )
    found = distiller.train().losses(_step(student, teacher, 195.0))
    projected = distiller.projection(student.feats[-1])
    expected = wkd_feature_loss(
        student=projected, teacher=teacher.feats[-1], mean_weight=2.5, grid=2
    )
    torch.testing.assert_close(found["wkd_f"], 0.35 * expected)
    torch.testing.assert_close(
        found["ce"], 0.3 * F.cross_entropy(student.logits, 7 * torch.arange(4))
    )


def test_regions_of_one_pixel_are_refused() -> None:
    with pytest.raises(RequestError, match=r"method.grid: .* \(4x4\) has one pixel.* grid is 3"):
        _distiller("wkd_f-w40-2-shv1", "method.grid=4")
    _distiller("wkd_f-w40-2-shv1", "method.grid=3")
    with pytest.raises(ValueError, match="grid: regions of 2x2 maps have one pixel"):
        wkd_feature_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), 1.0, 2)


def test_features_of_all_images_need_images_in_memory() -> None:
    settings = ["data.name=imagefolder", "data.num_classes=5", "data.padding=0"]
    settings.append("data.augmentation={interpolation: bilinear}")
    with pytest.raises(RequestError, match="cost: cka needs images in memory; use classifier"):
        load_preset("wkd-r32x4-r8x4", settings)
    preset = load_preset("wkd-r32x4-r8x4", [*settings, "method.cost=classifier"])
    assert preset.data.class_count == 5


def test_a_cost_of_classes_without_images_is_refused() -> None:
    data = load_preset("kd-digits").data
    images = digits.load(data, Path(), lambda *_: None).train
    teacher = TrainedNetwork(Checkpoint(Path("x"), {}, {}), "resnet8", data)
    with pytest.raises(RequestError, match=r"method\.cost: cka needs training images of every"):
        class_outputs(teacher, images, 11, Runtime(torch.device("cpu"), "fp32"))
