"""Inputs of the golden values, rebuilt from their formulas."""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def wave(shape: tuple[int, ...], phase: float, step: float) -> Tensor:
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(phase + step * i).reshape(shape)


def chirp(shape: tuple[int, ...], phase: float, step: float) -> Tensor:
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    squares = 0.0137 * torch.arange(997, dtype=torch.float64) ** 2
    periods = squares.repeat(len(i) // 997 + 1)[: len(i)]
    return i.mul_(step).add_(phase).add_(periods).sin_().reshape(shape)


def case_inputs(case: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Student logits (with gradient), teacher logits and targets of a loss case."""
    shape = (case["B"], case["C"])
    student = (case["ss"] * chirp(shape, 0.11, 0.71)).requires_grad_()
    teacher = case["st"] * chirp(shape, 0.5, 1.3)
    target = (torch.arange(shape[0]) * 7 + 3) % shape[1]
    return student, teacher, target


def fill(state: Mapping[str, Tensor], gain: float) -> dict[str, Tensor]:
    """Every tensor of a state dict, from its own name."""
    filled = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            filled[name] = torch.zeros_like(tensor)
            continue
        phase = (zlib.crc32(name.encode()) % 10007) / 10007 * 2 * math.pi
        base = chirp(tuple(tensor.shape), phase, 1.7)
        if name.endswith("running_mean"):
            base = 0.1 * base
        elif name.endswith("running_var"):
            base = 1 + 0.3 * base
        elif tensor.ndim >= 2:
            base = base * math.sqrt(gain / (tensor.numel() / tensor.shape[0]))
        elif name.endswith("bias"):
            base = 0.1 * base
        else:
            base = 1 + 0.1 * base
        filled[name] = base.to(tensor.dtype)
    return filled
