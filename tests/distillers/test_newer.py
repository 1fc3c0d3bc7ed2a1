"""Newer logit methods: values and gradients against the reference, in float64; extreme inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lskd_cli.distillers.dist import dist_loss
from lskd_cli.distillers.luminet import luminet_loss
from lskd_cli.distillers.normkd import normkd_loss
from lskd_cli.distillers.rld import rld_loss
from lskd_cli.distillers.ttm import ttm_loss
from lskd_cli.distillers.wttm import wttm_loss
from tests.golden_inputs import case_inputs, load

Loss = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]
LOSSES: dict[str, Loss] = {
    "normkd": lambda s, t, y, case: normkd_loss(s, t, case["t_norm"]),
    "ttm": lambda s, t, y, case: ttm_loss(s, t, case["gamma"]),
    "wttm": lambda s, t, y, case: wttm_loss(s, t, case["gamma"]),
    "rld": lambda s, t, y, case: rld_loss(
        s, t, y, case["alpha"], case["beta"], case["T"], case["alpha_T"], case["stand"]
    ),
    "luminet": lambda s, t, y, case: luminet_loss(s, t, case["alpha"], case["T"]),
    "dist": lambda s, t, y, case: dist_loss(s, t, case["beta"], case["gamma"]),
}
CASES = load("newer")["cases"]


def _label(case: dict[str, Any]) -> str:
    keys = ("name", "B", "C", "t_norm", "T", "alpha", "beta", "gamma", "stand")
    return "-".join(str(case[key]) for key in keys if key in case)


@pytest.mark.parametrize("case", CASES, ids=_label)
def test_a_loss_equals_the_reference(case: dict[str, Any]) -> None:
    student, teacher, target = case_inputs(case)
    loss = LOSSES[case["name"]](student, teacher, target, case)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.norm().item() == pytest.approx(case["grad"]["norm"], rel=1e-6)
    head = torch.tensor(case["grad"]["head"], dtype=torch.float64)
    found = gradient.flatten()[: len(head)]
    torch.testing.assert_close(found, head, rtol=1e-5, atol=1e-9 * case["grad"]["norm"])


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_one_and_one_of_equal_images_stay_finite(name: str) -> None:
    case = {
        "t_norm": 2.0, "gamma": 0.2, "alpha": 1.0, "beta": 2.0, "T": 4.0, "alpha_T": 1.0,
        "stand": False,
    }  # fmt: skip
    for rows in (1, 4):
        row = torch.randn(2, 1, 10, generator=torch.Generator().manual_seed(0))
        student = row[0].repeat(rows, 1).requires_grad_()
        target = torch.arange(rows)
        loss = LOSSES[name](student, row[1].repeat(rows, 1), target, case)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_a_sample_whose_target_the_teacher_puts_last_has_no_masked_part() -> None:
    student = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]]).repeat(3, 1)
    loss = rld_loss(student, teacher, torch.zeros(3, dtype=torch.long), 0.0, 8.0, 4.0, 1.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 0
    assert gradient.abs().max() == 0
