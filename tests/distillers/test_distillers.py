"""Every method, with and without standardization: stability, gradients, schedules."""

import math

import pytest
import torch
from torch import Tensor

from lskd_cli.config import View, load_preset
from lskd_cli.distillers import Distiller, StepInputs, create_distiller
from lskd_cli.distillers.ctkd import CTKD, curriculum
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.models import Output

METHODS = ["kd", "dkd", "mlkd", "ctkd"]
NEWER = ["normkd", "ttm", "wttm", "rld", "luminet", "dist"]
# Each, plain and, where it has something to standardize, standardized.
VARIANTS = [(method, stand) for method in [*METHODS, "rld"] for stand in (False, True)]
VARIANTS += [(method, False) for method in NEWER if method != "rld"]


def _distiller(method: str, stand: bool) -> Distiller:
    overrides = ["stand.enabled=true"] if stand else []
    return create_distiller(load_preset(f"{method}-r32x4-r8x4", overrides))


def _view(logits: Tensor, view: View) -> Tensor:
    return logits if view == "weak" else logits.roll(1, dims=0)


def _losses(
    distiller: Distiller, student: Tensor, teacher: Tensor, target: Tensor, epoch: int = 30
) -> dict[str, Tensor]:
    step = StepInputs(
        # The strong view of an image has other logits than the weak one.
        student={view: Output(_view(student, view)) for view in distiller.views},
        teacher={view: Output(_view(teacher, view)) for view in distiller.views},
        target=target,
        epoch=torch.tensor(float(epoch)),
        index=torch.arange(len(target)),
    )
    return distiller.losses(step)


def _logits(scale: float = 3.0, rows: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student = scale * torch.randn(rows, 100, generator=generator)
    teacher = scale * torch.randn(rows, 100, generator=generator)
    return student.requires_grad_(), teacher, torch.randint(0, 100, (rows,), generator=generator)


@pytest.mark.parametrize(("method", "stand"), VARIANTS)
class TestExtremeLogits:
    def _is_finite(
        self, method: str, stand: bool, student: Tensor, teacher: Tensor, target: Tensor
    ) -> bool:
        student = student.detach().requires_grad_()
        losses = _losses(_distiller(method, stand), student, teacher, target)
        torch.stack(list(losses.values())).sum().backward()
        values = [*losses.values(), student.grad]
        return all(bool(value.isfinite().all()) for value in values)

    def test_logits_of_ten_thousand_stay_finite(self, method: str, stand: bool) -> None:
        student, teacher, target = _logits(scale=1e4)
        assert self._is_finite(method, stand, student, teacher, target)

    def test_bfloat16_logits_stay_finite(self, method: str, stand: bool) -> None:
        student, teacher, target = _logits(scale=30)
        assert self._is_finite(method, stand, student.bfloat16(), teacher.bfloat16(), target)

    @pytest.mark.parametrize("right", [True, False])
    def test_rows_certain_of_one_class_stay_finite(
        self, method: str, stand: bool, right: bool
    ) -> None:
        student, teacher, target = _logits()
        certain = torch.zeros(8, 100).scatter(
            1, (target if right else (target + 1) % 100)[:, None], 1e4
        )
        assert self._is_finite(method, stand, student, certain, target)
        assert self._is_finite(method, stand, certain, teacher, target)
        assert self._is_finite(method, stand, certain, certain, target)

    def test_constant_rows_stay_finite(self, method: str, stand: bool) -> None:
        student, teacher, target = _logits()
        assert self._is_finite(method, stand, torch.full_like(student, 0.3), teacher, target)
        assert self._is_finite(method, stand, student, torch.full_like(teacher, 0.3), target)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_gives_the_loss_of_its_values_in_full(method: str) -> None:
    student, teacher, target = _logits()
    student, teacher = student.detach().bfloat16(), teacher.bfloat16()
    half = _losses(_distiller(method, True), student, teacher, target)
    full = _losses(_distiller(method, True), student.float(), teacher.float(), target)
    for name, value in full.items():
        torch.testing.assert_close(half[name], value)


@pytest.mark.parametrize("method", ["kd", "ctkd"])
def test_a_standardized_student_may_shift_and_scale_its_logits(method: str) -> None:
    student, teacher, target = _logits()
    distiller = _distiller(method, True)
    there = _losses(distiller, student, teacher, target)["kd"]
    elsewhere = _losses(distiller, 7 * student + 3, teacher, target)["kd"]
    torch.testing.assert_close(elsewhere, there, rtol=1e-4, atol=1e-5)


def test_equal_logits_cost_nothing() -> None:
    _, teacher, _ = _logits()
    assert kd_loss(teacher, teacher, 4.0).item() == pytest.approx(0, abs=1e-5)


def test_kd_weights_its_parts_as_the_preset_says() -> None:
    student, teacher, target = _logits()
    losses = _losses(_distiller("kd", False), student, teacher, target)
    ce = torch.nn.functional.cross_entropy(student, target)
    torch.testing.assert_close(losses["ce"], 0.1 * ce)
    torch.testing.assert_close(losses["kd"], 0.9 * kd_loss(student, teacher, 4.0))


def test_standardization_multiplies_alpha_and_beta_of_dkd_by_the_weight() -> None:
    student, teacher, target = _logits()
    once = create_distiller(
        load_preset("dkd-r32x4-r8x4", ["stand.enabled=true", "stand.kd_weight=1"])
    )
    nine = _distiller("dkd", True)
    torch.testing.assert_close(
        _losses(nine, student, teacher, target)["dkd"],
        9 * _losses(once, student, teacher, target)["dkd"],
    )


def test_dkd_grows_to_its_weight_over_the_warmup() -> None:
    inputs = _logits()
    distiller = _distiller("dkd", False)
    full = _losses(distiller, *inputs, epoch=20)["dkd"]
    torch.testing.assert_close(_losses(distiller, *inputs, epoch=1)["dkd"], full / 20)
    torch.testing.assert_close(_losses(distiller, *inputs, epoch=100)["dkd"], full)


def test_the_curriculum_runs_from_zero_to_minus_one_along_half_a_cosine() -> None:
    values = [curriculum(torch.tensor(epoch), 10).item() for epoch in (0, 5, 10, 200)]
    assert values == pytest.approx([0, -0.5, -1, -1], abs=1e-6)


def test_ctkd_starts_at_the_sigmoid_of_one_and_raises_the_loss() -> None:
    distiller = _distiller("ctkd", True)
    assert isinstance(distiller, CTKD)
    expected = 2 + 40 / (1 + math.exp(-1))
    assert distiller.metrics()["temperature"].item() == pytest.approx(expected)
    student, teacher, target = _logits()
    losses = _losses(distiller, student, teacher, target)
    (slope,) = torch.autograd.grad(losses["kd"], distiller.theta, retain_graph=True)
    with torch.no_grad():
        distiller.theta -= 1e-2 * slope
    assert _losses(distiller, student, teacher, target)["kd"] > losses["kd"]


def test_only_mlkd_asks_for_the_strong_view() -> None:
    assert {m: _distiller(m, False).views for m in METHODS} == {
        "kd": ("weak",),
        "dkd": ("weak",),
        "mlkd": ("weak", "strong"),
        "ctkd": ("weak",),
    }
    assert not create_distiller(load_preset("alone-r8x4")).needs_teacher
