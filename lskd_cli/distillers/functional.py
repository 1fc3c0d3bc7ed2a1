"""The losses of the logit methods as one function, for custom training loops."""

from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from lskd_cli.config import method_defaults
from lskd_cli.distillers.base import LogitDistiller, StepInputs
from lskd_cli.distillers.registry import distiller_class
from lskd_cli.errors import RequestError
from lskd_cli.models import Output


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
        student_logits: (B, C).
        teacher_logits: (B, C), without gradient.
        target: (B,) class indices.
        standardized: standardize the logits, with the published base temperature and weight.
        hyper_parameters: change hyper-parameters of the method, for example ``temperature=3`` or
            ``ce_weight=0``; ``lskd presets show METHOD-r56-r20`` lists them.

    Returns:
        Scalar, at least float32.

    Raises:
        RequestError: the method does not exist or is none of these, it cannot be standardized, or a
            hyper-parameter is wrong.
    """
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
    inputs = StepInputs(
        {"weak": Output(student_logits)},
        {"weak": Output(teacher_logits)},
        target,
        torch.full((), torch.inf, device=target.device),  # after every warm-up
        torch.arange(len(target), device=target.device),
    )
    losses: dict[str, Tensor] = distiller.losses(inputs)
    return torch.stack(list(losses.values())).sum()
