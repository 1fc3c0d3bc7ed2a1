"""SDD: the logits of regions, and what the method makes of them."""

import pytest
import torch
import torch.nn.functional as F

from lskd_cli.config import load_preset
from lskd_cli.distillers import Distiller, StepInputs, create_distiller
from lskd_cli.distillers.sdd import region_logits, sdd_dkd_loss, sdd_kd_loss
from lskd_cli.errors import RequestError
from lskd_cli.models import Network, create_model, feature_shapes, list_models

SIZE = 32  # pixels; twice as many for networks of torchvision and timm
IMAGES = torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
TRANSFORMERS = {
    "deit_tiny", "t2t_vit_7", "t2t_vit_14", "pit_tiny", "pvt_tiny", "pvt_v2_b0", "convit_tiny",
    "cvt_13",
}  # fmt: skip
WITH_MAP = [name for name in list_models() if name not in TRANSFORMERS]


def test_all_convolutional_networks_have_a_final_map() -> None:
    for name in list_models():
        has_map = feature_shapes(name, None).final_map is not None
        assert has_map == (name in WITH_MAP), name


@pytest.mark.parametrize("name", [*WITH_MAP, "torchvision/resnet18", "timm/resnet10t"])
@torch.no_grad()
def test_the_region_of_the_whole_image_has_its_logits(name: str) -> None:
    torch.manual_seed(0)
    size = 2 * SIZE if "/" in name else SIZE
    network = create_model(name, 7, size).eval()
    network.enable_features()
    output = network.forward_features(F.interpolate(IMAGES, (size, size)))
    layer = network.classifier_layer()
    assert output.final_map is not None
    assert layer is not None
    regions = region_logits(output.final_map, layer)
    assert regions.shape == (5, 7, 21)
    torch.testing.assert_close(regions[:, :, 0], output.logits, rtol=1e-4, atol=1e-5)


def _networks() -> tuple[Network, Network]:
    torch.manual_seed(0)
    return create_model("resnet20", 100).train(), create_model("resnet56", 100).eval()


def _distiller(name: str, networks: tuple[Network, Network], *settings: str) -> Distiller:
    student, teacher = networks
    return create_distiller(load_preset(name, settings), teacher, torch.arange(9), student)


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("method", ["sdd_kd", "sdd_dkd"])
def test_the_losses_are_those_of_the_regions(method: str, standardized: bool) -> None:
    networks = _networks()
    settings = ["method.kd_weight=0.7", "method.ce_weight=0.3", "method.temperature=3.5"]
    if standardized:
        settings += ["stand.enabled=true", "stand.kd_weight=0.7", "stand.temperature=3.5"]
    distiller = _distiller(f"{method}-r56-r20", networks, *settings)
    outputs = [network.forward_features(IMAGES) for network in networks]
    target = torch.arange(5) * 7
    # Quadrants, in the order of rows.
    regions = []
    for network, output in zip(networks, outputs, strict=True):
        rows = output.final_map.split(4, dim=2)
        parts = [part for row in rows for part in row.split(4, dim=3)]
        means = [output.final_map.mean((2, 3)), *(part.mean((2, 3)) for part in parts)]
        means += [
            output.final_map[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3))
            for y in range(4)
            for x in range(4)
        ]
        regions.append(torch.stack([network.classifier_layer()(mean) for mean in means], dim=2))
    step = StepInputs(
        {"weak": outputs[0]}, {"weak": outputs[1]}, target, torch.tensor(5.0), torch.arange(5)
    )
    found = distiller.losses(step)
    expected = {
        "sdd_kd": lambda: sdd_kd_loss(regions[0], regions[1], target, 3.5, standardized),
        "sdd_dkd": lambda: (
            21 * sdd_dkd_loss(regions[0], regions[1], target, 1.0, 2.0, 3.5, standardized)
        ),
    }[method]()
    torch.testing.assert_close(found[method], 0.7 * 5 / 20 * expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found["ce"], 0.3 * F.cross_entropy(outputs[0].logits, target))
    found[method].backward()
    student, teacher = networks
    assert student.fc.weight.grad.abs().sum() > 0
    assert student.conv1.weight.grad.abs().sum() > 0
    assert teacher.fc.weight.grad is None


def test_the_classifiers_belong_to_the_networks_alone() -> None:
    assert not _distiller("sdd_kd-r56-r20", _networks()).state_dict()


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("timm/convnext_atto", "logits are no linear function of the mean of its last map"),
        ("deit_tiny", "uses the feature map before the pooling; deit_tiny provides none"),
    ],
)
def test_other_networks_are_refused(student: str, message: str) -> None:
    preset = load_preset("sdd_kd-r56-r20", [f"student={student}", "data.image_size=64"])
    with pytest.raises(RequestError, match=message):
        create_distiller(preset, create_model("resnet56"), torch.arange(9))
