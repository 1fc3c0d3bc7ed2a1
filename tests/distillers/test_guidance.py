"""Locality guidance: its loss, its adapters, the layers it can read."""

import pytest
import torch
import torch.nn.functional as F

from lskd_cli.config import Preset, list_presets, load_preset
from lskd_cli.distillers import Distiller, StepInputs, create_distiller
from lskd_cli.distillers.guidance import guidance_loss
from lskd_cli.errors import RequestError
from lskd_cli.models import Output, create_model, feature_shapes
from tests.golden_inputs import chirp


def test_equal_maps_cost_nothing_and_a_shift_its_square() -> None:
    maps = [chirp((2, 3, 4, 4), 0.1, 0.7), chirp((2, 5, 2, 2), 0.2, 0.9)]
    assert guidance_loss(maps, maps).item() == 0
    shifted = [maps[0] + 0.5, maps[1] - 2.0]
    assert guidance_loss(shifted, maps).item() == pytest.approx(0.5**2 + 2.0**2)


@pytest.mark.parametrize(("student_side", "teacher_side"), [(14, 32), (14, 8), (14, 16), (56, 32)])
def test_the_smaller_map_is_enlarged_whichever_it_is(student_side: int, teacher_side: int) -> None:
    student, teacher = (
        chirp((2, 4, student_side, student_side), 0.1, 0.7),
        chirp((2, 4, teacher_side, teacher_side), 0.2, 0.9),
    )
    side = (max(student_side, teacher_side),) * 2
    large = [F.interpolate(one, side, mode="bilinear") for one in (student, teacher)]
    expected = (large[0] - large[1]).square().mean().item()
    assert guidance_loss([student], [teacher]).item() == pytest.approx(expected, rel=1e-12)


def test_half_precision_maps_are_compared_in_float32() -> None:
    student, teacher = torch.full((1, 1, 2, 2), 300.0), torch.zeros(1, 1, 2, 2)
    assert guidance_loss([student.half()], [teacher.half()]).item() == 90_000.0


def _distiller(preset: Preset) -> Distiller:
    with torch.device("meta"):
        teacher = create_model(preset.teacher)
    return create_distiller(preset, teacher, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("name", [n for n in list_presets() if n.startswith("guidance-")])
def test_the_adapters_fit_the_features_of_every_pair(name: str) -> None:
    preset = load_preset(name)
    distiller = _distiller(preset)
    shapes = feature_shapes(preset.student, preset.data.image_size), feature_shapes(preset.teacher)
    with torch.device("meta"):
        distiller.to_empty(device="meta")
        student, teacher = (
            Output(torch.randn(2, 10), [torch.randn(2, *shape) for shape in of.feats])
            for of in shapes
        )
        target = torch.tensor([1, 2])
        step = StepInputs({"weak": student}, {"weak": teacher}, target, torch.ones(()), target)
        student.logits.requires_grad_()
        losses = distiller.losses(step)
        assert list(losses) == ["ce", "guidance"]
        (losses["ce"] + losses["guidance"]).backward()
    assert all(parameter.grad is not None for parameter in distiller.parameters())


@pytest.mark.parametrize("name", ["resnet8x4", "t2t_vit_7", "cvt_13", "pvt_v2_b0"])
def test_shapes_are_those_of_a_real_pass(name: str) -> None:
    network = create_model(name).eval()
    images = torch.zeros(1, 3, network.image_size, network.image_size)
    with torch.no_grad():
        output = network.forward_features(images)
    shapes = feature_shapes(name)
    assert shapes.feats == [tuple(feat.shape[1:]) for feat in output.feats]
    assert shapes.preacts == [tuple(preact.shape[1:]) for preact in output.preacts]
    assert shapes.pooled == output.pooled.shape[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "method.student_layers=[0, 6, 12]",
            "method.student_layers: must be between 0 and 11, not 12",
        ),
        (
            "method.teacher_stages=[0, 1, 3]",
            "method.teacher_stages: must be between 0 and 2, not 3",
        ),
    ],
)
def test_a_layer_that_does_not_exist_is_refused(override: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        _distiller(load_preset("guidance-r56g-deit-tiny", [override]))
    assert message in str(caught.value)
    assert "must be between 0 and" in str(caught.value)


def test_it_has_nothing_to_standardize() -> None:
    with pytest.raises(ValueError, match="no teacher logits to standardize"):
        load_preset("guidance-r56g-deit-tiny").with_stand(True)
