"""Recent methods: values and gradients against the reference, in float64; extreme inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lskd_cli.config import load_preset
from lskd_cli.distillers import StepInputs, create_distiller
from lskd_cli.distillers.abkd import abkd_loss
from lskd_cli.distillers.crld import crld_losses
from lskd_cli.distillers.ldrld import ldrld_loss
from lskd_cli.distillers.nkd import nkd_loss
from lskd_cli.distillers.sdd import sdd_dkd_loss, sdd_kd_loss
from lskd_cli.distillers.simkd import simkd_loss
from lskd_cli.distillers.skd import skd_loss
from lskd_cli.distillers.wkd import class_cost, wkd_feature_loss, wkd_logit_losses
from lskd_cli.errors import RequestError
from lskd_cli.models import Network, Output, SimKDProjector, create_model
from lskd_cli.models.simkd import SimKDNetwork
from tests.golden_inputs import case_inputs, chirp, fill, load

CASES = load("frontier")["cases"] + load("frontier2")["cases"]
Loss = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]
LOSSES: dict[str, Loss] = {
    "nkd": lambda s, t, y, c: nkd_loss(s, t, y, c["temperature"], c["gamma"]),
    # The reference has the ridge in float32.
    "skd": lambda s, t, y, c: skd_loss(s, t, torch.tensor(c["ridge"]).item()),
    "abkd": lambda s, t, y, c: abkd_loss(
        s, t, c["alpha"], c["beta"], c["temperature"], c["standardized"]
    ),
    "ldrld": lambda s, t, y, c: ldrld_loss(
        s, t, c["alpha"], c["beta"], c["temperature"], c["k"], c["standardized"]
    ),
}


def _label(case: dict[str, Any]) -> str:
    values = [value for value in case.values() if isinstance(value, str | int | float | bool)]
    return "-".join(map(str, values[:12]))


def _of(*names: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["name"] in names]


def _assert_gradient(gradient: Tensor, golden: dict[str, Any], tolerance: float = 1e-6) -> None:
    norm = golden["norm"]
    assert gradient.norm().item() == pytest.approx(norm, rel=tolerance, abs=1e-12)
    head = torch.tensor(golden["head"], dtype=torch.float64)
    found = gradient.flatten()[: len(head)]
    torch.testing.assert_close(found, head, rtol=10 * tolerance, atol=1e-8 * norm + 1e-15)


@pytest.mark.parametrize("case", _of(*LOSSES), ids=_label)
def test_a_loss_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, target = case_inputs(case)
    loss = LOSSES[case["name"]](student, teacher, target, case)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8)
    (gradient,) = torch.autograd.grad(loss, student)
    _assert_gradient(gradient, case["grad"])


@pytest.mark.parametrize("case", _of("sdd_kd", "sdd_dkd"), ids=_label)
def test_sdd_equals_the_reference(case: dict[str, Any]) -> None:
    shape = (case["B"], case["C"], case["regions"])
    student = (case["ss"] * chirp(shape, 0.11, 0.71)).requires_grad_()
    teacher = case["st"] * chirp(shape, 0.5, 1.3)
    target = (torch.arange(shape[0]) * 7 + 3) % shape[1]
    rows = torch.arange(shape[0])
    teacher[rows[::2], target[::2], 0] += 6
    teacher[rows[:, None], target[:, None], torch.arange(1, shape[2], 3)] += 5
    if case["name"] == "sdd_kd":
        loss = sdd_kd_loss(student, teacher, target, case["temperature"])
    else:
        loss = sdd_dkd_loss(
            student, teacher, target, case["alpha"], case["beta"], case["temperature"]
        )
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8)
    (gradient,) = torch.autograd.grad(loss, student)
    _assert_gradient(gradient, case["grad"])


@pytest.mark.parametrize("case", _of("wkd_l"), ids=_label)
def test_wkd_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, target = case_inputs(case)
    classes = case["C"]
    values = chirp((classes, classes), 0.8, 1.1)
    distances = case["center"] + case["spread"] * (values + values.T) / 2
    distances.fill_diagonal_(0)
    cost = distances
    if case["sharpness"]:
        cost = 1 - (-case["sharpness"] * distances).exp()
    losses = wkd_logit_losses(
        student, teacher, target, cost, case["temperature"], case["regularization"],
        case["iterations"], case["standardized"],
    )  # fmt: skip
    assert losses["target"].item() == pytest.approx(case["target_term"], rel=1e-8)
    assert losses["transport"].item() == pytest.approx(case["transport"], rel=1e-8)
    (slope,) = torch.autograd.grad(losses["transport"], student, retain_graph=True)
    _assert_gradient(slope, case["transport_grad"])
    (gradient,) = torch.autograd.grad(
        losses["target"] + case["weight"] * losses["transport"], student
    )
    _assert_gradient(gradient, case["grad"])


@pytest.mark.parametrize("case", _of("wkd_cost"), ids=_label)
def test_the_cost_of_classes_equals_the_reference(case: dict[str, Any]) -> None:
    features = chirp(tuple(case["shape"]), 0.8, 1.1) + case["offset"]
    _assert_gradient(class_cost(features, case["sharpness"]), case)


@pytest.mark.parametrize("case", _of("wkd_f"), ids=_label)
def test_wkd_f_equals_the_reference(case: dict[str, Any]) -> None:
    shape = tuple(case["shape"])
    student = (case["ss"] * chirp(shape, 0.11, 0.71)).requires_grad_()
    teacher = case["st"] * chirp(shape, 0.5, 1.3)
    loss = wkd_feature_loss(student, teacher, case["mean_weight"], case["grid"])
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8)
    (gradient,) = torch.autograd.grad(loss, student)
    _assert_gradient(gradient, case["grad"])


@pytest.mark.parametrize("case", _of("simkd"), ids=_label)
def test_simkd_equals_the_reference(case: dict[str, Any]) -> None:
    shapes = tuple(case["student"]), tuple(case["teacher"])
    student = (case["ss"] * chirp(shapes[0], 0.11, 0.71)).requires_grad_()
    teacher = case["st"] * chirp(shapes[1], 0.5, 1.3)
    channels, classes = shapes[1][1], case["classes"]
    projector = SimKDProjector(shapes[0][1], channels, case["factor"]).double()
    projector.load_state_dict(fill(projector.state_dict(), 2.0))
    assert sum(parameter.numel() for parameter in projector.parameters()) == case["parameters"]
    loss = simkd_loss(student, teacher, projector.eval())
    assert loss.item() == pytest.approx(case["eval_loss"], rel=1e-8)

    class Backbone(Network):
        def forward_features(self, images: Tensor) -> Output:
            return Output(images, final_map=images)

    network = SimKDNetwork(Backbone(), shapes[0][1:], shapes[1][1:], case["factor"], classes)
    network.double().projector.load_state_dict(projector.state_dict())
    network.linear.weight.copy_(chirp((classes, channels), 0.37, 0.93) / channels**0.5)
    network.linear.bias.copy_(0.1 * chirp((classes,), 0.8, 1.1))
    logits = network.eval()(student)
    assert logits.norm().item() == pytest.approx(case["eval_logits_norm"], rel=1e-6)
    head = torch.tensor(case["eval_logits"], dtype=torch.float64)
    torch.testing.assert_close(logits[0, : len(head)], head, rtol=1e-6, atol=1e-9)

    loss = simkd_loss(student, teacher, projector.train())
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8)
    (gradient,) = torch.autograd.grad(loss, student)
    _assert_gradient(gradient, case["grad"])


@pytest.mark.parametrize("case", _of("crld"), ids=_label)
def test_crld_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, _ = case_inputs(case)
    shape = student.shape
    strong = (case["ss"] * chirp(shape, 0.37, 0.93)).requires_grad_()
    losses = crld_losses(
        student, strong, teacher, case["st"] * chirp(shape, 0.8, 1.1),
        case["temperature"], case["tau_weak"], case["tau_strong"],
        case["within_weight"], case["cross_weight"], case["standardized"],
    )  # fmt: skip
    for name in ("within", "cross"):
        assert losses[name].item() == pytest.approx(case[name], rel=1e-8)
    gradients = torch.autograd.grad(losses["within"] + losses["cross"], [student, strong])
    for gradient, golden in zip(gradients, case["grads"], strict=True):
        _assert_gradient(gradient, golden)


EXTREME = {
    "large": (1e4 * chirp((4, 10), 0.1, 0.7), 1e4 * chirp((4, 10), 0.5, 1.3)),
    "equal": (torch.ones(4, 10), torch.ones(4, 10)),
    "student equals teacher": (chirp((4, 10), 0.1, 0.7), chirp((4, 10), 0.1, 0.7)),
    "certain teacher": (chirp((4, 10), 0.1, 0.7), 1e3 * torch.eye(4, 10)),
    "one image": (chirp((1, 10), 0.1, 0.7), chirp((1, 10), 0.5, 1.3)),
    "two classes": (chirp((4, 2), 0.1, 0.7), chirp((4, 2), 0.5, 1.3)),
}


@pytest.mark.parametrize("inputs", EXTREME.values(), ids=EXTREME)
@pytest.mark.parametrize("method", ["nkd", "skd", "crld", "abkd", "ldrld", "wkd"])
def test_losses_and_gradients_of_extreme_logits_are_finite(
    method: str, inputs: tuple[Tensor, Tensor]
) -> None:
    if method == "ldrld" and inputs[0].shape[1] == 2:
        pytest.skip("needs three classes")
    classes = inputs[0].shape[1]
    settings = ["data.name=npz", f"data.num_classes={classes}"]
    settings += ["data.augmentation={interpolation: bilinear}", "data.padding=0"]
    if method == "ldrld":
        settings = []
    preset = load_preset(f"{method}-r56-r20", settings)
    teacher = create_model("resnet8", classes)
    for standardized in (False, True) if preset.can_standardize else (False,):
        if standardized and inputs[0].shape[1] == 2:
            continue
        config = preset.with_stand(True) if standardized else preset
        student = inputs[0].float().requires_grad_()
        strong = student.flip(0)
        step = StepInputs(
            {"weak": Output(student), "strong": Output(strong)},
            {"weak": Output(inputs[1].float()), "strong": Output(inputs[1].flip(0).float())},
            torch.arange(len(student)) % 2,
            torch.ones(()),
            torch.arange(len(student)),
        )
        losses = create_distiller(config, teacher, torch.arange(9)).losses(step)
        (gradient,) = torch.autograd.grad(torch.stack(list(losses.values())).sum(), student)
        assert all(value.isfinite() for value in losses.values())
        assert gradient.isfinite().all()


def test_ldrld_needs_more_classes_than_it_compares_in_pairs() -> None:
    with pytest.raises(RequestError, match=r"method.k: must be below the number of classes \(10\)"):
        load_preset("ldrld-digits", ["method.k=10"])
    with pytest.raises(ValueError, match="below the number of classes"):
        ldrld_loss(torch.zeros(1, 3), torch.zeros(1, 3), 1.0, 1.0, 1.0, 3)


@pytest.mark.parametrize("values", [{"beta": 0.01}, {"beta": -0.79}, {"alpha": 0.001, "beta": 0}])
def test_abkd_refuses_exponents_that_cancel(values: dict[str, float]) -> None:
    settings = [f"method.{name}={value}" for name, value in values.items()]
    with pytest.raises(RequestError, match=r"alpha, beta: their product and their sum must be 0"):
        load_preset("abkd-r56-r20", settings)
