"""Learning rates by epoch."""

import math

import pytest

from lskd_cli.config import load_preset
from lskd_cli.engine.training.schedule import learning_rate


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
