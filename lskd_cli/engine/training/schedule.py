"""The learning rate as a function of the epoch."""

import math
from bisect import bisect_right

from lskd_cli.config import Optimizer, Schedule


def learning_rate(optimizer: Optimizer, schedule: Schedule, epoch: int) -> float:
    """Learning rate of all steps of an epoch (counted from 1).

    multistep: lr times gamma for every milestone that has passed. cosine: with t = epoch - 1 and E
    epochs, min_lr + (lr - min_lr) * (1 + cos(pi * t / E)) / 2 (Loshchilov and Hutter,
    arXiv:1608.03983) after a linear warm-up, during which the cosine is already counted, as in
    timm's ``CosineLRScheduler``.
    """
    if schedule.name == "multistep":
        return optimizer.lr * schedule.gamma ** bisect_right(schedule.milestones, epoch - 1)
    t = epoch - 1
    if t < schedule.warmup_epochs:
        start = schedule.warmup_start * optimizer.lr
        return start + t * ((optimizer.lr - start) / schedule.warmup_epochs)
    cosine = math.cos(math.pi * t / schedule.epochs)
    return schedule.min_lr + 0.5 * (optimizer.lr - schedule.min_lr) * (1 + cosine)
