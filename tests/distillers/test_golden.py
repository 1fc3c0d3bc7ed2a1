"""Values and gradients of the losses against the reference, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lskd_cli.distillers.dkd import dkd_loss
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.mlkd import batch_relation_loss, class_relation_loss, mlkd_losses
from tests.golden_inputs import case_inputs, chirp, load

CASES = load("losses")["cases"]


def _of(name: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["name"] == name]


def _label(case: dict[str, Any]) -> str:
    keys = ("B", "C", "T", "stand", "alpha", "beta")
    return "-".join(str(case[key]) for key in keys if key in case)


def _assert_matches(loss: Tensor, inputs: list[Tensor], case: dict[str, Any]) -> None:
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8, abs=1e-12)
    for gradient, golden in zip(torch.autograd.grad(loss, inputs), case["grads"], strict=True):
        assert gradient.norm().item() == pytest.approx(golden["norm"], rel=1e-6, abs=1e-12)
        head = torch.tensor(golden["head"], dtype=torch.float64)
        found = gradient.flatten()[: len(head)]
        torch.testing.assert_close(found, head, rtol=1e-5, atol=1e-9 * golden["norm"] + 1e-13)


@pytest.mark.parametrize("case", _of("kd"), ids=_label)
def test_kd_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, _ = case_inputs(case)
    _assert_matches(kd_loss(student, teacher, case["T"], case["stand"]), [student], case)


@pytest.mark.parametrize("case", _of("dkd"), ids=_label)
def test_dkd_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, target = case_inputs(case)
    loss = dkd_loss(student, teacher, target, case["alpha"], case["beta"], case["T"], case["stand"])
    _assert_matches(loss, [student], case)


@pytest.mark.parametrize("case", _of("mlkd_cc"), ids=_label)
def test_the_class_relation_loss_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, _ = case_inputs(case)
    _assert_matches(class_relation_loss(student, teacher, case["T"]), [student], case)


@pytest.mark.parametrize("case", _of("mlkd_bc"), ids=_label)
def test_the_batch_relation_loss_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, _ = case_inputs(case)
    _assert_matches(batch_relation_loss(student, teacher, case["T"]), [student], case)


@pytest.mark.parametrize("case", _of("mlkd_total"), ids=_label)
def test_mlkd_equals_the_reference_in_sum_and_parts(case: dict[str, Any]) -> None:
    weak = (3 * chirp((8, 100), 0.11, 0.71)).requires_grad_()
    strong = (3 * chirp((8, 100), 0.21, 0.91)).requires_grad_()
    teacher_weak, teacher_strong = 5 * chirp((8, 100), 0.5, 1.3), 5 * chirp((8, 100), 0.6, 1.1)
    target = (torch.arange(8) * 7 + 3) % 100
    parts = mlkd_losses(
        weak, strong, teacher_weak, teacher_strong, target,
        case["T"], case["ce_weight"], case["kd_weight"], case["stand"],
    )  # fmt: skip
    for name, value in parts.items():
        assert value.item() == pytest.approx(case["parts"][f"loss_{name}"], rel=1e-8)
    _assert_matches(torch.stack(list(parts.values())).sum(), [weak, strong], case)
