"""The vision transformers and their guide against reference values."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lskd_cli.errors import RequestError
from lskd_cli.models import create_model
from tests.golden_inputs import fill, load, wave

GOLDEN: dict[str, Any] = load("vits")
TRANSFORMERS = [name for name in GOLDEN if name != "resnet56_guide"]
# The reference of these was computed in float32.
TOLERANCE = {"float32": 5e-6, "float64": 2e-8}


def _images(golden: dict[str, Any]) -> Tensor:
    shape = (2, 3, golden["img_size"], golden["img_size"])
    return wave(shape, 0.1, 0.37).to(getattr(torch, golden["dtype"]))


@pytest.mark.parametrize("name", GOLDEN)
def test_published_weights_load_and_give_the_reference_logits_and_features(
    name: str,
) -> None:
    golden = GOLDEN[name]
    network = create_model(name).to(getattr(torch, golden["dtype"])).eval()
    state = network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == golden["state_dict"]
    assert sum(parameter.numel() for parameter in network.parameters()) == golden["params"]
    network.load_state_dict(fill(network.state_dict(), golden["gain"]))
    with torch.no_grad():
        output = network.forward_features(_images(golden))
    tolerance = TOLERANCE[golden["dtype"]]
    expected = torch.tensor(golden["eval_logits"], dtype=output.logits.dtype)
    torch.testing.assert_close(output.logits[:, :10], expected, rtol=0, atol=tolerance)
    # Features start with the embedding, those of the reference with the first layer or stage.
    assert len(output.feats) == len(golden["features"]) + 1
    for feat, reference in zip(output.feats[1:], golden["features"], strict=True):
        assert list(feat.shape) == reference["shape"]
        head = torch.tensor(reference["head"], dtype=feat.dtype)
        torch.testing.assert_close(feat.flatten()[:6], head, rtol=0, atol=tolerance)
        assert feat.mean().item() == pytest.approx(reference["mean"], abs=tolerance)
        assert feat.std().item() == pytest.approx(reference["std"], abs=tolerance)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_size_between_two_patches_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(RequestError, match=r"data\.image_size: .* nearest: 2(08|24)$"):
        create_model(name, image_size=217)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_another_size_gives_logits_and_smaller_maps(name: str) -> None:
    network = create_model(name, num_classes=7, image_size=64).eval()
    with torch.no_grad():
        output = network.forward_features(torch.zeros(1, 3, 64, 64))
    assert output.logits.shape == (1, 7)
    assert output.feats[-1].shape[2] <= 7


def test_cifar_networks_have_small_images_and_no_drop_path() -> None:
    with pytest.raises(
        RequestError, match=r"data\.image_size: resnet20 supports images of at most 64"
    ):
        create_model("resnet20", image_size=224)
    with pytest.raises(RequestError, match=r"drop_path: resnet20 does not support it"):
        create_model("resnet20", drop_path=0.1)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_drop_path_changes_training_and_leaves_evaluation_alone(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name, image_size=64, drop_path=0.5)
    torch.nn.init.normal_(list(network.parameters())[-2])  # DeiT's classifier starts at zero
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(images), network(images))
        network.eval()
        assert torch.equal(network(images), network(images))
