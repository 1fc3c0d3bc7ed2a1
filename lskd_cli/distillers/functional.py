"""The losses of the logit methods as one function, for custom training loops."""

from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from lskd_cli.config import TWO_CLASSES, method_defaults
from lskd_cli.distillers.base import LogitDistiller, StepInputs
from lskd_cli.distillers.registry import distiller_class
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_INDEX_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def distillation_loss(
    method: str,
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    standardized: bool = False,
    **hyper_parameters: Any,
) -> Tensor:
    """The loss that ``lskd train`` minimizes with a logit method: cross entropy and distillation.

    Args:
        method: name of a method that compares the logits of one view, such as kd, dkd, dist or rld.
        student_logits: (B, C), floating point.
        teacher_logits: (B, C), floating point; no gradient reaches them.
        target: (B,) class indices from 0 to C - 1.
        standardized: standardize the logits, with the published base temperature and weight.
        hyper_parameters: change hyper-parameters of the method, for example ``temperature=3`` or
            ``ce_weight=0``; ``lskd presets show METHOD-r56-r20`` lists them.

    Returns:
        Scalar, at least float32.

    Raises:
        RequestError: the method does not exist or is none of these, it cannot be standardized, or a
            hyper-parameter is wrong.
        TypeError: an argument is no dense tensor or has another type.
        ValueError: shapes or devices differ, the batch is empty, a target is no class, or there are
            two classes, of which standardized logits learn nothing.
    """
    _check_tensors(student_logits, teacher_logits, target)
    if standardized and student_logits.shape[1] == 2:
        raise ValueError(TWO_CLASSES)
    config_class, values, stand = method_defaults(method)
    create: Any = distiller_class(method)
    if not issubclass(create, LogitDistiller):
        raise RequestError(f"method {method}: not a loss of the logits of one view")
    if standardized and stand is None:
        raise RequestError(f"method {method}: has no standardized form")
    changes = {**(stand or {} if standardized else {}), **hyper_parameters}
    try:
        config = config_class.model_validate({**values, **changes})
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"]))
        raise RequestError(f"method {method}: {key}: {detail['msg']}") from None
    distiller = create(config, standardized)
    dtype = torch.promote_types(student_logits.dtype, teacher_logits.dtype)
    inputs = StepInputs(
        {"weak": Output(student_logits.to(dtype))},
        {"weak": Output(teacher_logits.detach().to(dtype))},
        target.long(),
        torch.full((), torch.inf, device=target.device),  # after every warm-up
        torch.arange(len(target), device=target.device),
    )
    losses: dict[str, Tensor] = distiller.losses(inputs)
    return torch.stack(list(losses.values())).sum()


def _check_tensors(student: Tensor, teacher: Tensor, target: Tensor) -> None:
    for name, logits in (("student_logits", student), ("teacher_logits", teacher)):
        if not isinstance(logits, Tensor) or not logits.is_floating_point():
            kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(f"{name}: must be a floating-point tensor, not {kind}")
    if not isinstance(target, Tensor) or target.dtype not in _INDEX_TYPES:
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"target: must be a tensor of integers, not {kind}")
    if student.ndim != 2 or 0 in student.shape or student.shape[1] < 2:
        raise ValueError(
            f"student_logits: must be (B, C) with at least one image and two classes, not "
            f"{tuple(student.shape)}"
        )
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher_logits: must have the shape of student_logits, {tuple(student.shape)}, not "
            f"{tuple(teacher.shape)}"
        )
    if target.shape != student.shape[:1]:
        raise ValueError(f"target: must be ({len(student)},), not {tuple(target.shape)}")
    if not student.device == teacher.device == target.device:
        raise ValueError(
            f"student_logits, teacher_logits and target: must be on one device, not on "
            f"{student.device}, {teacher.device} and {target.device}"
        )
    tensors = {"student_logits": student, "teacher_logits": teacher, "target": target}
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_meta:
            problem = "one without data" if tensor.is_meta else "a sparse one"
            raise TypeError(f"{name}: must be a dense tensor, not {problem}")
    low, high = (int(value) for value in target.aminmax())
    if low < 0 or high >= student.shape[1]:
        value = low if low < 0 else high
        raise ValueError(f"target: must be 0 to {student.shape[1] - 1}, not {value}")
