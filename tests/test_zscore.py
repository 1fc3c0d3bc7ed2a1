"""Logit standardization: its invariances, its edge cases, its gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lskd_cli.zscore import standardize
from tests.golden_inputs import case_inputs, load

CASES = [case for case in load("losses")["cases"] if case["name"] == "standardize"]


@st.composite
def logits(draw: st.DrawFn) -> Tensor:
    """Rows whose spread is far from nothing: constant rows have tests of their own."""
    rows, classes = draw(st.integers(1, 5)), draw(st.integers(2, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    values[:, 0], values[:, 1] = 5, -5
    return values


@given(logits(), st.floats(-1e3, 1e3))
def test_a_shift_changes_nothing(z: Tensor, shift: float) -> None:
    torch.testing.assert_close(standardize(z + shift), standardize(z), rtol=1e-9, atol=1e-9)


@given(logits(), st.floats(1e-3, 1e6))
def test_a_positive_scale_changes_nothing_beyond_eps(z: Tensor, scale: float) -> None:
    tolerance = 1e-9 / scale + 1e-9
    torch.testing.assert_close(
        standardize(z * scale, eps=1e-9), standardize(z, eps=1e-9), rtol=tolerance, atol=tolerance
    )


@given(logits())
def test_a_negative_scale_flips_the_sign(z: Tensor) -> None:
    torch.testing.assert_close(standardize(-z), -standardize(z))


@given(logits())
def test_rows_have_mean_zero_and_unbiased_deviation_one(z: Tensor) -> None:
    result = standardize(z)
    torch.testing.assert_close(result.mean(-1), torch.zeros_like(result[:, 0]), rtol=0, atol=1e-9)
    torch.testing.assert_close(result.std(-1), torch.ones_like(result[:, 0]), rtol=1e-6, atol=0)


@given(logits(), st.floats(0.5, 8))
def test_the_effective_temperature_is_the_base_temperature_times_the_deviation(
    z: Tensor, temperature: float
) -> None:
    softened = torch.softmax(z / (temperature * z.std(-1, keepdim=True)), -1)
    torch.testing.assert_close(
        torch.softmax(standardize(z) / temperature, -1), softened, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -3.3, 0.1, 1e4, 1e30])
@pytest.mark.parametrize("classes", [1, 2, 7, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_row_gives_zeros_and_zero_gradient(
    value: float, classes: int, dtype: torch.dtype
) -> None:
    z = torch.full((3, classes), value, dtype=dtype, requires_grad=True)
    result = standardize(z)
    assert torch.equal(result, torch.zeros_like(result))
    (result * torch.arange(classes)).sum().backward()
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_a_constant_row_does_not_disturb_its_neighbours() -> None:
    z = torch.randn(4, 10, dtype=torch.float64)
    alone = standardize(z[1:])
    z[0] = 2.5
    assert torch.equal(standardize(z)[1:], alone)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_standardized_in_float32(dtype: torch.dtype) -> None:
    z = (torch.randn(8, 100, generator=torch.Generator().manual_seed(0)) * 30).to(dtype)
    result = standardize(z)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, standardize(z.double()).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_and_double_precision_are_kept(dtype: torch.dtype) -> None:
    assert standardize(torch.randn(2, 5, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("scale", [1e-12, 1e4, 1e20, 1e36])
def test_tiny_and_huge_logits_stay_finite_with_their_gradients(scale: float) -> None:
    z = (torch.randn(4, 20, generator=torch.Generator().manual_seed(1)) * scale).requires_grad_()
    result = standardize(z)
    result.square().mul(torch.arange(20)).sum().backward()
    assert result.isfinite().all()
    assert z.grad.isfinite().all()


def test_large_logits_are_standardized_like_small_ones() -> None:
    z = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(standardize(z * 1e30), standardize(z), rtol=1e-4, atol=1e-4)


@settings(max_examples=20)
@given(logits())
def test_the_gradient_is_that_of_finite_differences(z: Tensor) -> None:
    assert torch.autograd.gradcheck(standardize, (z.requires_grad_(),))


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="floating point"):
        standardize(torch.ones(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['B']}x{case['C']}")
def test_values_equal_the_reference(case: dict) -> None:
    student, teacher, _ = case_inputs(case)
    for logits_, head in ((student, case["head_student"]), (teacher, case["head_teacher"])):
        expected = torch.tensor(head, dtype=torch.float64)
        result = standardize(logits_).detach().flatten()[: len(head)]
        torch.testing.assert_close(result, expected, rtol=1e-8, atol=1e-8)
