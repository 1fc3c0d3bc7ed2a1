"""Accuracy, calibration, fidelity and statistics of logits."""

import math

import pytest
import torch
import torch.nn.functional as F

from lskd_cli.engine.inference.eval_metrics import (
    accuracy_and_loss,
    concordant_pairs,
    expected_calibration_error,
    fidelity,
    logit_stats,
)


def test_top_one_and_top_five_are_counted() -> None:
    logits = torch.arange(10.0).flip(0).repeat(4, 1)
    result = accuracy_and_loss(logits, torch.tensor([0, 1, 4, 9]))
    assert (result["top1"], result["top5"]) == (25.0, 75.0)
    expected = F.cross_entropy(logits, torch.tensor([0, 1, 4, 9]))
    assert result["loss"] == pytest.approx(expected.item())


def test_fewer_than_five_classes_have_a_top_five_of_100() -> None:
    assert accuracy_and_loss(torch.eye(3), torch.arange(3))["top5"] == 100.0


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # all rows 90 % confident, three of four correct
    logits = torch.tensor([[math.log(9.0), 0.0]]).repeat(4, 1)
    assert expected_calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(15.0)


def test_a_confident_and_correct_network_is_calibrated() -> None:
    assert expected_calibration_error(torch.eye(3) * 1e4, torch.arange(3)) == pytest.approx(0.0)


def test_a_scaled_copy_of_the_teacher_agrees_but_only_standardized_is_equal() -> None:
    teacher = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    result = fidelity(3 * teacher + 1, teacher)
    assert result["agreement"] == 100.0
    assert result["kl"] > 0.1
    assert result["kl_standardized"] == pytest.approx(0, abs=1e-5)


def test_fidelity_is_a_divergence_in_nats_at_any_temperature() -> None:
    student, teacher = torch.randn(2, 50, 10, generator=torch.Generator().manual_seed(0)).double()
    result = fidelity(student, teacher, 4.0)
    p, q = (teacher / 4).softmax(1), (student / 4).softmax(1)
    assert result["kl"] == pytest.approx((p * (p / q).log()).sum(1).mean().item())
    p, q = (
        ((logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True) / 4).softmax(1)
        for logits in (teacher, student)
    )
    expected = (p * (p / q).log()).sum(1).mean().item()
    assert result["kl_standardized"] == pytest.approx(expected, rel=1e-5)


def test_logit_stats_are_those_of_each_image_over_the_classes() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [10.0, 12.0, 14.0]])
    result = logit_stats(logits)
    assert (result["logit_mean"], result["logit_std"]) == (7.0, 1.5)
    assert result["logit_mean_spread"] == pytest.approx(math.sqrt(50))
    assert result["logit_std_spread"] == pytest.approx(math.sqrt(0.5))


def test_concordant_pairs_are_those_where_the_better_student_diverges_less() -> None:
    # Equal accuracies make no pair; of the two pairs with 70, one is in order.
    assert concordant_pairs([60.0, 60.0, 70.0], [0.1, 0.9, 0.5]) == (1, 2)
    assert concordant_pairs([60.0, 70.0, 80.0], [0.3, 0.2, 0.1]) == (3, 3)
    assert concordant_pairs([60.0], [0.3]) == (0, 0)
    assert concordant_pairs([60.0, 70.0], [0.3, 0.3]) == (0, 1)  # equal divergences rank nothing
