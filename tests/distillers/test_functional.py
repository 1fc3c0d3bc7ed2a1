"""What the public loss function refuses."""

from typing import Any

import pytest
import torch

from lskd_cli.distillers import distillation_loss
from lskd_cli.distillers.kd import kd_loss

METHODS = (
    "kd", "dkd", "dist", "rld", "ttm", "wttm", "luminet", "normkd", "nkd", "skd", "abkd", "ldrld",
)  # fmt: skip
S, T, Y = torch.randn(8, 10), torch.randn(8, 10), torch.arange(8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((S.long(), T, Y), TypeError, "student_logits: must be a floating-point tensor, not"),
        (
            (S, T.tolist(), Y),
            TypeError,
            "teacher_logits: must be a floating-point tensor",
        ),
        ((S, T, Y.double()), TypeError, "target: must be a tensor of integers"),
        ((S[:0], T[:0], Y[:0]), ValueError, "at least one image"),
        ((S[:, :1], T[:, :1], Y * 0), ValueError, "two classes"),
        ((S[None], T[None], Y[None]), ValueError, r"must be \(B, C\)"),
        ((S, T[:1], Y), ValueError, r"the shape of student_logits, \(8, 10\), not \(1, 10\)"),
        ((S, torch.randn(8, 20), Y), ValueError, "teacher_logits: must have the shape"),
        ((S, T, Y[:, None]), ValueError, r"target: must be \(8,\), not \(8, 1\)"),
        ((S, T, Y - 100), ValueError, "target: must be 0 to 9, not -100"),
        ((S, T, Y + 5), ValueError, "target: must be 0 to 9, not 12"),
        ((S.to("meta"), T, Y), ValueError, "must be on one device"),
        ((S, T.to_sparse(), Y), TypeError, "teacher_logits: must be a dense tensor, not a sparse"),
        (
            (S.to("meta"), T.to("meta"), Y.to("meta")),
            TypeError,
            "student_logits: must be a dense tensor, not one without data",
        ),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_wrong_tensors_are_refused(
    method: str, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        distillation_loss(method, *arguments)


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_reaches_the_teacher(method: str) -> None:
    student, teacher = S.clone().requires_grad_(), T.clone().requires_grad_()
    distillation_loss(method, student, teacher, Y).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("method", METHODS)
def test_tensors_of_different_types_are_converted(method: str) -> None:
    expected = distillation_loss(method, S.double(), T.double(), Y)
    assert distillation_loss(method, S, T.double(), Y.int()).dtype == torch.float64
    torch.testing.assert_close(distillation_loss(method, S, T.double(), Y.int()), expected)
    mixed = distillation_loss(method, S.half(), T.bfloat16(), Y)
    torch.testing.assert_close(mixed.double(), expected, rtol=0.05, atol=0.05)


def test_a_wrong_method_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="method 'nothing': unknown"):
        distillation_loss("nothing", S, T, Y)


def test_two_classes_are_not_standardized() -> None:
    pair = S[:, :2], T[:, :2], Y % 2
    assert distillation_loss("kd", *pair).isfinite()
    with pytest.raises(ValueError, match=r"always -0\.71 and 0\.71"):
        distillation_loss("kd", *pair, standardized=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_logits_of_half_precision_stay_finite(method: str, dtype: torch.dtype) -> None:
    sign = torch.where(torch.arange(80).view(8, 10) % 3 == 0, 2e4, -2e4).to(dtype)
    assert distillation_loss(method, sign, -sign, Y).isfinite()


@pytest.mark.parametrize("standardized", [False, True])
def test_kd_takes_sequences_and_reductions(standardized: bool) -> None:
    student, teacher = torch.randn(2, 4, 3, 7, generator=torch.Generator().manual_seed(0))
    rows = kd_loss(student, teacher, 3.0, standardized, reduction="none")
    assert rows.shape == (4, 3)
    for index in ((0, 0), (1, 2), (3, 1)):
        one = kd_loss(student[index][None], teacher[index][None], 3.0, standardized)
        torch.testing.assert_close(rows[index], one)
    torch.testing.assert_close(kd_loss(student, teacher, 3.0, standardized), rows.mean())
    total = kd_loss(student, teacher, 3.0, standardized, reduction="sum")
    torch.testing.assert_close(total, rows.sum())
