"""Optimizers whose learning rates are tensors on the device, which captured steps read."""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import nn

from lskd_cli.config import Optimizer
from lskd_cli.engine.training.dot import DOT
from lskd_cli.errors import RequestError

_NO_WEIGHT_DECAY = ("*cls_token", "*pos_embed*", "*dist_token", "*distill_token")

Groups = list[dict[str, Any]]


class LearningRates:
    """The learning rates of the parameter groups: fractions of the scheduled learning rate."""

    def __init__(self, scales: Iterable[float], device: torch.device) -> None:
        self.scales = list(scales)
        # One tensor for all groups with the same rate.
        self.rates = {scale: torch.zeros((), device=device) for scale in self.scales}

    def set(self, value: float) -> None:
        """Set the scheduled learning rate; the next step uses it."""
        for scale, rate in self.rates.items():
            rate.fill_(scale * value)

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Let an optimizer read these tensors; a restored optimizer has copies of them."""
        for group, scale in zip(optimizer.param_groups, self.scales, strict=True):
            group["lr"] = self.rates[scale]


def create_optimizer(
    module: nn.Module,
    student: nn.Module,
    config: Optimizer,
    device: torch.device,
    classifier: Collection[str] = (),
) -> tuple[torch.optim.Optimizer, LearningRates]:
    """An optimizer of all trainable parameters of a module, and its learning rates.

    Args:
        module: the student with its distiller.
        student: the student, whose layers may have lower rates.
        config: optimizer settings of the preset.
        device: device of the learning rates.
        classifier: names of the student's parameters that always have the scheduled rate.

    Raises:
        RequestError: the student's layers are not known in order, which ``layer_decay`` needs.
    """
    groups = _groups(module, student, config, classifier)
    rates = LearningRates([group.pop("lr_scale", 1.0) for group in groups], device)
    lr = next(iter(rates.rates.values()))
    optimizer: torch.optim.Optimizer
    if config.name == "adamw":
        # With capturable=True, the step count is a tensor too.
        optimizer = torch.optim.AdamW(groups, lr=lr, fused=True, capturable=True)
        # PyTorch would warn that the steps before the capture are not captured.
        optimizer._warned_capturable_if_run_uncaptured = True
    elif config.name == "dot":
        optimizer = DOT(groups, lr, config.momentum, config.dot_delta)
    else:
        optimizer = torch.optim.SGD(
            groups, lr=lr, momentum=config.momentum, nesterov=config.nesterov, fused=True
        )
    rates.attach(optimizer)
    if config.name == "sgd" and config.momentum > 0:
        # Otherwise the first step would create them, and differ from the steps after it.
        for group in groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer, rates


def _groups(
    module: nn.Module, student: nn.Module, config: Optimizer, classifier: Collection[str]
) -> Groups:
    """Parameter groups with their weight decay and, unless it is 1, their ``lr_scale``."""
    if config.layer_decay is None and config.backbone_lr_scale == 1:
        return _weight_decay_groups(module, config)
    # Parameters of the method, such as adapters, have the scheduled rate.
    own = {id(parameter) for parameter in student.parameters()}
    groups = _select_groups(module, config, {id(p) for p in module.parameters()} - own, 1.0)
    if config.layer_decay is not None:
        return _layer_groups(student, config) + groups
    by_name = student.state_dict(keep_vars=True)
    head = {id(by_name[name]) for name in classifier}
    backbone = _select_groups(student, config, own - head, config.backbone_lr_scale)
    return backbone + _select_groups(student, config, head, 1.0) + groups


def _select_groups(
    module: nn.Module, config: Optimizer, selected: set[int], scale: float
) -> Groups:
    """The groups of some parameters of a module, by their identities."""
    groups = []
    for group in _weight_decay_groups(module, config):
        parameters = [p for p in group["params"] if id(p) in selected]
        if parameters:
            groups.append({**group, "params": parameters, "lr_scale": scale})
    return groups


def _layer_groups(student: nn.Module, config: Optimizer) -> Groups:
    network = getattr(student, "network", student)
    if not hasattr(network, "group_matcher"):
        raise RequestError(
            "optimizer.layer_decay: only networks of timm have it; use backbone_lr_scale instead"
        )
    from timm.optim import param_groups_layer_decay

    groups: Groups = param_groups_layer_decay(
        network,
        weight_decay=config.weight_decay,
        no_weight_decay_list=_NO_WEIGHT_DECAY,
        layer_decay=config.layer_decay,
    )
    return groups


def _weight_decay_groups(module: nn.Module, config: Optimizer) -> Groups:
    if config.name == "adamw":
        from timm.optim import param_groups_weight_decay

        groups: Groups = param_groups_weight_decay(
            module, weight_decay=config.weight_decay, no_weight_decay_list=_NO_WEIGHT_DECAY
        )
        return groups
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [{"params": parameters, "weight_decay": config.weight_decay}]
