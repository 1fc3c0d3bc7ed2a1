"""The frozen teacher computes what its network computes, with fused batch norms or without."""

import pytest
import torch
import torch.nn.functional as F

from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import Network, create_model, list_models
from tests.engine.helpers import CPU

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def create_meta(name: str) -> Network:
    """A network without memory."""
    with torch.device("meta"):
        return create_model(name)


@pytest.mark.parametrize("name", list_models())
@torch.no_grad()
def test_the_teachers_logits_are_those_of_its_network(name: str) -> None:
    torch.manual_seed(0)
    size = 64 if create_meta(name).image_size > 64 else None
    network = create_model(name, image_size=size).train()
    images = F.interpolate(IMAGES, (network.image_size, network.image_size), mode="bilinear")
    network(images)  # batch norms that do something
    torch.nn.init.normal_(list(network.parameters())[-2])  # DeiT's classifier starts at zero
    network.eval()
    expected = network(images)
    output = Teacher(network, CPU)({"weak": IMAGES}, ["weak"])["weak"]
    scale = expected.abs().max().item()
    torch.testing.assert_close(output.logits / scale, expected / scale, rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_view_has_the_logits_of_its_own_images() -> None:
    torch.manual_seed(0)
    network = create_model("resnet8").eval()
    views = {"weak": IMAGES, "strong": IMAGES.flip(0) * 0.5}
    expected = {view: network(images) for view, images in views.items()}
    outputs = Teacher(network, CPU)(views, ["strong", "weak"])
    assert list(outputs) == ["strong", "weak"]
    for view, output in outputs.items():
        torch.testing.assert_close(output.logits, expected[view], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(outputs["weak"].logits, outputs["strong"].logits, atol=1e-2)


@torch.no_grad()
def test_features_come_where_they_are_wanted() -> None:
    network = create_model("resnet8")
    output = Teacher(network, CPU, ("feats", "pooled"))({"weak": IMAGES}, ["weak"])["weak"]
    assert [feature.shape[1] for feature in output.feats] == [16, 16, 32, 64]
    assert output.preacts == []
    assert not network.training


@torch.no_grad()
def test_weights_in_bf16_give_the_logits_of_autocast() -> None:
    torch.manual_seed(0)
    network = create_model("resnet8").eval()
    runtime = Runtime(torch.device("cpu"), "bf16")
    runtime.to_device(network)
    with runtime.autocast():
        expected = network.forward_features(IMAGES)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    teacher = Teacher(network, runtime, ("feats", "pooled"))
    output = teacher({"weak": IMAGES}, ["weak"])["weak"]
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.feats[-1], expected.feats[-1])
    # Other joint runs use the same network.
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
