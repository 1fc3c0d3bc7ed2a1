"""The learning rate as a function of the epoch alone."""

from bisect import bisect_right

import torch
from timm.scheduler import CosineLRScheduler

from lskd_cli.config import Optimizer, Schedule


def learning_rate(optimizer: Optimizer, schedule: Schedule, epoch: int) -> float:
    """Learning rate in an epoch (from 1), the same for all its steps.

    steps: lr times gamma once for every milestone that is over. cosine: timm's curve, which also
    runs during the warm-up and is joined at its end, as it is at the epoch's start.
    """
    if schedule.name == "steps":
        return optimizer.lr * schedule.gamma ** bisect_right(schedule.milestones, epoch - 1)
    if schedule.epochs == 1:
        return optimizer.lr  # timm takes a curve of one point for a mistake
    of_a_parameter = torch.optim.SGD([torch.zeros(1)], optimizer.lr)
    curve = CosineLRScheduler(
        of_a_parameter,
        t_initial=schedule.epochs,
        lr_min=schedule.min_lr,
        warmup_t=schedule.warmup_epochs,
        warmup_lr_init=schedule.warmup_start * optimizer.lr,
    )
    curve.step(epoch - 1)
    rate: float = of_a_parameter.param_groups[0]["lr"]
    return rate
