"""Optimizers whose learning rate is a tensor on the device, which captured steps read."""

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from lskd_cli.config import Optimizer

_NO_WEIGHT_DECAY = ("*cls_token", "*pos_embed*", "*dist_token", "*distill_token")


def create_optimizer(module: nn.Module, config: Optimizer, lr: Tensor) -> torch.optim.Optimizer:
    """An optimizer of all trainable parameters of a module.

    Args:
        module: the student with its distiller.
        config: optimizer settings of the preset.
        lr: scalar tensor; its value at a step is the learning rate of the step.
    """
    if config.name == "adamw":
        groups = param_groups_weight_decay(
            module, weight_decay=config.weight_decay, no_weight_decay_list=_NO_WEIGHT_DECAY
        )
        # With capturable=True, the step count is a tensor too.
        return torch.optim.AdamW(groups, lr=lr, fused=True, capturable=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if config.momentum > 0:
        # Otherwise the first step would create them, and differ from the steps after it.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
