"""Schedule, meters, metrics and device, one property each."""

import math

import joblib
import pytest
import torch
import torch.nn.functional as F

from lskd_cli.config import load_preset
from lskd_cli.engine.eval_metrics import (
    accuracy_and_loss,
    concordant_pairs,
    expected_calibration_error,
    fidelity,
    logit_stats,
)
from lskd_cli.engine.meters import Meters
from lskd_cli.engine.runtime import resolve_runtime, set_tf32
from lskd_cli.engine.schedule import learning_rate
from lskd_cli.errors import RequestError, RunError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, 0.05), (150, 0.05), (151, 0.005), (180, 0.005), (181, 5e-4), (211, 5e-5), (240, 5e-5)],
)
def test_the_learning_rate_drops_from_epochs_151_181_and_211(epoch: int, expected: float) -> None:
    preset = load_preset("kd-r32x4-r8x4")
    assert learning_rate(preset.optimizer, preset.schedule, epoch) == pytest.approx(expected)


def _cosine(done: float) -> float:
    return 5e-6 + (5e-4 - 5e-6) * (1 + math.cos(math.pi * done)) / 2


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (1, 5e-7),  # 0.001 * lr
        (11, (5e-7 + 5e-4) / 2),
        (21, _cosine(20 / 300)),
        (151, _cosine(0.5)),
        (300, _cosine(299 / 300)),
    ],
)
def test_transformers_warm_up_and_follow_a_cosine(epoch: int, expected: float) -> None:
    preset = load_preset("kd-r56g-deit-tiny")
    rate = learning_rate(preset.optimizer, preset.schedule, epoch)
    assert rate == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("epochs", "rates"), [(1, [5e-4]), (2, [5e-4, _cosine(0.5)])])
def test_a_short_cosine_has_no_warm_up(epochs: int, rates: list[float]) -> None:
    preset = load_preset("kd-r56g-deit-tiny")
    short = preset.schedule.with_epochs(epochs)
    found = [learning_rate(preset.optimizer, short, epoch) for epoch in range(1, epochs + 1)]
    assert found == pytest.approx(rates)
    assert preset.schedule.with_epochs(30).warmup_epochs == 2


def test_meters_average_over_images_not_batches() -> None:
    meters = Meters(CPU)
    logits = torch.eye(4)
    for loss, size in ((1.0, 4), (4.0, 2)):
        target = torch.tensor([0, 1, 2, 0])[:size]
        meters.update({"ce": torch.tensor(loss)}, logits[:size], target)
    record = meters.means()
    assert record["train_ce"] == pytest.approx((1.0 * 4 + 4.0 * 2) / 6)
    assert record["train_top1"] == pytest.approx(100 * 5 / 6)


def test_meters_name_the_first_step_whose_loss_is_not_finite() -> None:
    meters = Meters(CPU)
    for value in (1.0, math.inf, math.nan, 1.0):
        losses = {"ce": torch.tensor(2.0), "kd": torch.tensor(value)}
        meters.update(losses, torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(RunError, match=r"epoch 7, step 2: ce = 2, kd = inf"):
        meters.check_finite("kd-digits/seed0", 7)


def test_meters_continue_from_their_state() -> None:
    first, second = Meters(CPU), Meters(CPU)
    first.update({"ce": torch.tensor(3.0)}, torch.zeros(2, 3), torch.tensor([0, 1]))
    second.load_state_dict(first.state_dict())
    for meters in (first, second):
        meters.update({"ce": torch.tensor(1.0)}, torch.zeros(2, 3), torch.tensor([0, 1]))
    assert second.means() == first.means()


def test_top_one_and_top_five_are_counted() -> None:
    logits = torch.arange(10.0).flip(0).repeat(4, 1)
    result = accuracy_and_loss(logits, torch.tensor([0, 1, 4, 9]))
    assert (result["top1"], result["top5"]) == (25.0, 75.0)
    expected = F.cross_entropy(logits, torch.tensor([0, 1, 4, 9]))
    assert result["loss"] == pytest.approx(expected.item())


def test_fewer_than_five_classes_have_a_top_five_all_the_same() -> None:
    assert accuracy_and_loss(torch.eye(3), torch.arange(3))["top5"] == 100.0


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # all rows 90 % confident, three of four right
    logits = torch.tensor([[math.log(9.0), 0.0]]).repeat(4, 1)
    assert expected_calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(15.0)


def test_a_perfectly_confident_right_network_is_calibrated() -> None:
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


def test_logit_stats_are_those_of_each_image_over_the_classes() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [10.0, 12.0, 14.0]])
    result = logit_stats(logits)
    assert (result["logit_mean"], result["logit_std"]) == (7.0, 1.5)
    assert result["logit_mean_spread"] == pytest.approx(math.sqrt(50))
    assert result["logit_std_spread"] == pytest.approx(math.sqrt(0.5))


def test_concordant_pairs_are_those_where_the_better_student_diverges_less() -> None:
    # as accurate as each other: no pair; 70 before 60 twice, once in order
    assert concordant_pairs([60.0, 60.0, 70.0], [0.1, 0.9, 0.5]) == (1, 2)
    assert concordant_pairs([60.0, 70.0, 80.0], [0.3, 0.2, 0.1]) == (3, 3)
    assert concordant_pairs([60.0], [0.3]) == (0, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match=f"--device {device}: not available"):
        resolve_runtime(device)


@pytest.mark.parametrize("device", ["gpu", "mps", "meta"])
def test_a_device_of_another_kind_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match="auto, cpu, cuda or cuda:N"):
        resolve_runtime(device)


def test_auto_precision_takes_bf16_only_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_runtime("cpu").precision == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert resolve_runtime("cpu").precision == "fp32"


def test_no_more_threads_than_a_container_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    resolve_runtime("cpu")
    assert set_to == [2]
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    resolve_runtime("cpu")
    assert set_to == [2]


def test_float32_products_are_exact_unless_asked_otherwise_and_restored() -> None:
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    for tf32 in (True, False):
        with set_tf32(tf32):
            assert torch.backends.cudnn.allow_tf32 is tf32
            assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
