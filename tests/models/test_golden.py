"""The networks against the reference: names, shapes, outputs, features."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lskd_cli.errors import RequestError
from lskd_cli.models import create_model, list_models
from lskd_cli.models.blocks import DepthwiseConv2d
from tests.golden_inputs import fill, load, wave

GOLDEN = load("models")
IMAGES = wave((4, 3, 32, 32), 0.1, 0.37)


def _filled(name: str, gain: float) -> torch.nn.Module:
    model = create_model(name).double()
    model.load_state_dict(fill(model.state_dict(), gain))
    return model


def _matches(tensor: Tensor, golden: dict[str, Any]) -> None:
    tensor = tensor.detach()
    assert list(tensor.shape) == golden["shape"]
    head = torch.tensor(golden["head"], dtype=torch.float64)
    torch.testing.assert_close(tensor.flatten()[: len(head)], head, rtol=1e-6, atol=1e-7)
    assert tensor.mean().item() == pytest.approx(golden["mean"], rel=1e-6, abs=1e-7)
    assert tensor.std().item() == pytest.approx(golden["std"], rel=1e-6, abs=1e-7)


def test_the_registry_holds_exactly_the_published_networks() -> None:
    of_imagenet = ["mobilenet_v1", "resnet18", "resnet34", "resnet50"]
    assert sorted(list_models()) == sorted([*GOLDEN, *load("vits"), *of_imagenet])


@pytest.mark.parametrize("name", GOLDEN)
def test_parameters_have_the_published_names_and_shapes(name: str) -> None:
    model = create_model(name)
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert shapes == GOLDEN[name]["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == GOLDEN[name]["params"]


@pytest.mark.parametrize("name", GOLDEN)
def test_training_mode_gives_the_reference_logits_and_features(name: str) -> None:
    golden = GOLDEN[name]["train"]
    model = _filled(name, golden["gain"]).train()
    with torch.no_grad():
        output = model.forward_features(IMAGES)
    expected = torch.tensor(golden["logits"], dtype=torch.float64)
    torch.testing.assert_close(output.logits[:, :10], expected, rtol=1e-6, atol=1e-7)
    assert len(output.feats) == len(golden["feats"])
    assert len(output.preacts) == len(golden["preact_feats"])
    for tensor, reference in zip(output.feats, golden["feats"], strict=True):
        _matches(tensor, reference)
    for tensor, reference in zip(output.preacts, golden["preact_feats"], strict=True):
        _matches(tensor, reference)
    _matches(output.pooled, golden["pooled_feat"])


@pytest.mark.parametrize("name", GOLDEN)
def test_evaluation_mode_gives_the_reference_logits(name: str) -> None:
    golden = GOLDEN[name]["eval"]
    model = _filled(name, golden["gain"]).eval()
    with torch.no_grad():
        output = model.forward_features(IMAGES)
        assert torch.equal(model(IMAGES), output.logits)
    expected = torch.tensor(golden["logits"], dtype=torch.float64)
    torch.testing.assert_close(output.logits[:, :10], expected, rtol=1e-6, atol=1e-9)
    _matches(output.pooled, golden["pooled_feat"])


@pytest.mark.parametrize("name", ["wrn_16_1", "resnet8"])
def test_a_forward_pass_updates_each_running_mean_once(name: str) -> None:
    model = create_model(name).train()
    model(torch.randn(4, 3, 32, 32))
    counts = {b.item() for n, b in model.named_buffers() if n.endswith("num_batches_tracked")}
    assert counts == {1}


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="resnet32x4"):
        create_model("resnet32x8")


def test_the_number_of_classes_sets_the_logits() -> None:
    assert create_model("resnet8", num_classes=10)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", ["MobileNetV2", "ShuffleV1", "ShuffleV2"])
def test_depthwise_convolutions_keep_the_precision_that_autocast_asks_for(name: str) -> None:
    torch.manual_seed(0)
    depthwise = [m for m in create_model(name).modules() if isinstance(m, DepthwiseConv2d)]
    images = torch.randn(2, depthwise[0].in_channels, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = depthwise[0](images)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, depthwise[0](images).bfloat16())
