"""Features of networks of timm and torchvision."""

import copy

import pytest
import torch

from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import create_model, feature_shapes
from tests.engine.helpers import CPU

NAMES = [
    "timm/resnet18", "timm/vit_tiny_patch16_224", "timm/convnext_atto", "timm/efficientnet_b0",
    "torchvision/resnet18", "torchvision/mobilenet_v2", "torchvision/regnet_y_400mf",
    pytest.param("torchvision/vgg11", marks=pytest.mark.slow),
    pytest.param("torchvision/convnext_tiny", marks=pytest.mark.slow),
    pytest.param("torchvision/densenet121", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_logits_with_features_are_those_without(name: str) -> None:
    size = 224 if "vit" in name else 96
    torch.manual_seed(0)
    network = create_model(name, 10, size).eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = network(images)
        assert network.enable_features()
        assert not network.training
        assert not any(module.training for module in network.modules())
        output = network.forward_features(images)
    torch.testing.assert_close(output.logits, expected)
    sides = [feat.shape[2] for feat in output.feats]
    assert len(sides) > 2
    assert sides == sorted(sides, reverse=True)
    assert output.pooled is not None
    shapes = feature_shapes(name, size)
    assert shapes.feats == [tuple(feat.shape[1:]) for feat in output.feats]
    assert shapes.pooled == output.pooled.shape[1]


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/resnet18"])
def test_a_copy_has_features_of_its_own_weights(name: str) -> None:
    network = create_model(name, 10, 64).eval()
    network.enable_features()
    copied = copy.deepcopy(network)
    for parameter in copied.parameters():
        parameter.data.zero_()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert copied.forward_features(images).logits.abs().max() == 0
        assert network.forward_features(images).logits.abs().max() > 0


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/resnet18"])
def test_a_teacher_with_features_keeps_its_statistics(name: str) -> None:
    network = create_model(name, 10, 64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    teacher = Teacher(network, CPU, ("feats",))
    images = torch.randn(3, 3, 64, 64)
    whole = teacher({"weak": images}, ["weak"])["weak"].logits
    single = teacher({"weak": images[:1]}, ["weak"])["weak"].logits
    torch.testing.assert_close(whole[:1], single, rtol=1e-4, atol=1e-4)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_small_images_have_features() -> None:
    assert len(feature_shapes("torchvision/resnet18", 32).feats) >= 4
