"""Networks of ImageNet, and any network of torchvision and timm."""

from copy import deepcopy

import pytest
import timm
import torch
import torchvision
from timm.layers import convert_sync_batchnorm
from torch import nn

from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.errors import RequestError
from lskd_cli.models import create_model, feature_shapes, is_model, teacher_image_size

IMAGENET = ["resnet18", "resnet34", "resnet50", "mobilenet_v1"]
CPU = Runtime(torch.device("cpu"), "fp32")


def _images(size: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_a_resnet_is_torchvisions(name: str) -> None:
    published = torchvision.models.get_model(name, num_classes=7).eval()
    network = create_model(name, 7, 64).eval()
    network.load_state_dict(published.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(_images()), published(_images()))


def test_mobilenet_v1_is_that_of_its_paper() -> None:
    network = create_model("mobilenet_v1", 1000)
    assert sum(p.numel() for p in network.parameters()) == 4_231_976  # the paper: 4.2 million
    kinds = {type(module) for module in network.modules()}
    assert nn.ReLU in kinds
    assert nn.ReLU6 not in kinds
    blocks = [(conv.stride, conv.groups > 1) for conv in network.modules() if _is_conv(conv)]
    assert [depthwise for _, depthwise in blocks] == [False, *[True, False] * 13]
    assert sum(stride == (2, 2) for stride, _ in blocks) == 5


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)


def test_mobilenet_v1_gives_what_timm_gives() -> None:
    network = create_model("mobilenet_v1", 7, 64).eval()
    same = timm.create_model("mobilenetv1_100", num_classes=7, act_layer=nn.ReLU).eval()
    same.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(_images()), same(_images()))


def test_mobilenet_v1_keeps_its_features_with_synchronized_batch_norms() -> None:
    network = create_model("mobilenet_v1", 7, 64).eval()
    converted = convert_sync_batchnorm(deepcopy(network)).eval()
    assert "SyncBatchNormAct" in {type(module).__name__ for module in converted.modules()}
    with torch.no_grad():
        expected, found = (net.forward_features(_images()) for net in (network, converted))
    for before, after in zip(expected.preacts, found.preacts, strict=True):
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("name", IMAGENET)
def test_features_before_and_after_the_activation_fit_together(name: str) -> None:
    network = create_model(name, 10, 64).eval()
    with torch.no_grad():
        output = network.forward_features(_images())
    assert len(output.feats) == len(output.preacts) + 1
    for feat, preact in zip(output.feats[1:], output.preacts, strict=True):
        torch.testing.assert_close(feat, preact.relu())
    shapes = [tuple(feat.shape[1:]) for feat in output.feats]
    assert feature_shapes(name, 64).feats == shapes
    torch.testing.assert_close(output.feats[-1].mean(dim=(2, 3)), output.pooled)


@pytest.mark.parametrize("name", [*IMAGENET, "torchvision/squeezenet1_1", "timm/resnet10t"])
def test_a_teacher_gives_the_logits_of_its_network(name: str) -> None:
    network = create_model(name, 10, 64).eval()
    with torch.no_grad():
        expected = network(_images())
        found = Teacher(network, CPU)({"weak": _images()}, ["weak"])
    torch.testing.assert_close(found["weak"].logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "timm/resnet10t"])
def test_a_librarys_network_has_the_librarys_parameter_names(name: str) -> None:
    library, _, inner = name.partition("/")
    made = timm.create_model if library == "timm" else torchvision.models.get_model
    own = made(inner, num_classes=10)
    network = create_model(name, 10)
    assert network.state_dict().keys() == own.state_dict().keys()
    network.load_state_dict(own.state_dict())


def test_auxiliary_outputs_in_training_are_left_out() -> None:
    network = create_model("torchvision/googlenet", 10, 64)
    assert network(_images()).shape == (2, 10)


def test_inception_prepares_images_as_its_pretrained_weights_need_it() -> None:
    with torch.device("meta"):
        assert create_model("torchvision/inception_v3", 10, 299).network.transform_input


def test_sizes_are_those_that_a_network_can_take() -> None:
    assert create_model("resnet18", 10).image_size == 224
    assert create_model("timm/vit_tiny_patch16_384", 10).image_size == 384
    with pytest.raises(RequestError, match="vit_b_32 needs images of 224 pixels, not 64"):
        create_model("torchvision/vit_b_32", 10, 64)
    assert teacher_image_size("resnet34", 96) == 96
    assert teacher_image_size("timm/resnet10t", 96) == 96
    assert teacher_image_size("timm/vit_tiny_patch16_384", 96) == 384
    assert teacher_image_size("resnet56", 224) == 32
    assert teacher_image_size("resnet56", 28) == 28


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("timm/resnet10", "timm/resnet10t"),
        ("torchvision/resnet19", "torchvision/resnet18"),
        ("resnet19", "or torchvision/NAME, timm/NAME"),
        ("keras/resnet50", "keras has no such model"),
    ],
)
def test_an_unknown_network_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    assert not is_model(name)
    with pytest.raises(RequestError, match=nearest):
        create_model(name)


def test_mobilenet_v1_starts_from_the_initialization_of_pytorch() -> None:
    """Uniform weights of at most 1 / sqrt(fan_in); timm's are normal."""
    network = create_model("mobilenet_v1", 7, 64)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 28
    for layer in layers:
        bound = layer.weight[0].numel() ** -0.5
        assert 0.9 * bound < layer.weight.abs().max().item() <= bound
