"""The learning rate as a function of how far training is."""

from bisect import bisect_right

import torch
from timm.scheduler import CosineLRScheduler

from lskd_cli.config import Optimizer, Schedule

_TICKS = 1000  # of timm's clock in an epoch: it takes a schedule of one tick for a mistake


def learning_rate(optimizer: Optimizer, schedule: Schedule, progress: float) -> float:
    """Learning rate after so many epochs, of which the last may be under way.

    steps: lr times gamma once for every milestone that is over. cosine: timm's curve, which also
    runs during the warm-up and is joined at its end.
    """
    if schedule.name == "steps":
        return optimizer.lr * schedule.gamma ** bisect_right(schedule.milestones, progress)
    of_a_parameter = torch.optim.SGD([torch.zeros(1)], optimizer.lr)
    curve = CosineLRScheduler(
        of_a_parameter,
        t_initial=_TICKS * schedule.epochs,
        lr_min=schedule.min_lr,
        warmup_t=_TICKS * schedule.warmup_epochs,
        warmup_lr_init=schedule.warmup_start * optimizer.lr,
    )
    curve.step(_TICKS * progress)
    rate: float = of_a_parameter.param_groups[0]["lr"]
    return rate
