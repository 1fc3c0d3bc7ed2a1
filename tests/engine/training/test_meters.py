"""Running means of losses and accuracy."""

import math

import pytest
import torch

from lskd_cli.engine.training.meters import Meters
from lskd_cli.errors import RunError

CPU = torch.device("cpu")


def test_meters_average_over_images_not_batches() -> None:
    meters = Meters(CPU)
    logits = torch.eye(4)
    for loss, size in ((1.0, 4), (4.0, 2)):
        target = torch.tensor([0, 1, 2, 0])[:size]
        meters.update(["ce"], torch.tensor([loss]), logits[:size], target)
    record = meters.means()
    assert record["train_ce"] == pytest.approx((1.0 * 4 + 4.0 * 2) / 6)
    assert record["train_top1"] == pytest.approx(100 * 5 / 6)


def test_meters_name_the_first_step_whose_loss_is_not_finite() -> None:
    meters = Meters(CPU)
    for value in (1.0, math.inf, math.nan, 1.0):
        losses = torch.tensor([2.0, value])
        meters.update(["ce", "kd"], losses, torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(RunError, match=r"epoch 7, step 2: ce = 2, kd = inf"):
        meters.check_finite("kd-digits/seed0", 7)


def test_meters_continue_from_their_state() -> None:
    first, second = Meters(CPU), Meters(CPU)
    first.update(["ce"], torch.tensor([3.0]), torch.zeros(2, 3), torch.tensor([0, 1]))
    second.load_state_dict(first.state_dict())
    for meters in (first, second):
        meters.update(["ce"], torch.tensor([1.0]), torch.zeros(2, 3), torch.tensor([0, 1]))
    assert second.means() == first.means()
