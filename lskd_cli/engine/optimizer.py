"""Optimizers whose learning rate is a tensor on the device, so that a recorded step reads it."""

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from lskd_cli.config import Optimizer

_UNDECAYED = ("*cls_token", "*pos_embed*", "*dist_token", "*distill_token")


def create_optimizer(module: nn.Module, settings: Optimizer, rate: Tensor) -> torch.optim.Optimizer:
    """An optimizer of all trained parameters of a module.

    Args:
        module: the student with its distiller.
        settings: of the preset.
        rate: scalar; what it holds at a step is the step's learning rate.
    """
    if settings.name == "adamw":
        groups = param_groups_weight_decay(module, settings.weight_decay, True, _UNDECAYED)
        # Capturable: its count of steps is a tensor too.
        return torch.optim.AdamW(groups, lr=rate, fused=True, capturable=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        lr=rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    if settings.momentum > 0:
        # The first step would make them, and be another step than those that follow.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
