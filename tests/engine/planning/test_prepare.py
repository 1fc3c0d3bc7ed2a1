"""Checks of a request before anything is trained."""

from dataclasses import replace

import pytest
import torch

from lskd_cli.engine.planning.prepare import _check_sync_batchnorm
from lskd_cli.errors import RequestError
from tests.engine.helpers import CPU, digits_preset


def test_synchronized_batch_norms_need_a_gpu_and_equal_micro_batches() -> None:
    settings = ("sync_batchnorm=true", "optimizer.grad_accum_steps=4")
    divided = digits_preset("kd", False, 1, *settings)
    gpu = replace(CPU, device=torch.device("meta"))
    with pytest.raises(RequestError, match="sync_batchnorm: requires CUDA"):
        _check_sync_batchnorm(divided, CPU)
    with pytest.raises(RequestError, match=r"set data\.drop_last=true"):
        _check_sync_batchnorm(divided, gpu)
    _check_sync_batchnorm(digits_preset("kd", False, 1, *settings, "data.drop_last=true"), gpu)
    _check_sync_batchnorm(digits_preset("kd", False, 1, "sync_batchnorm=true"), gpu)
