"""Device, precision and number of threads."""

import joblib
import pytest
import torch

from lskd_cli.engine.devices import dist_env
from lskd_cli.engine.devices.runtime import resolve_runtime, set_tf32
from lskd_cli.errors import RequestError


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_missing_gpu_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match=f"--device {device}: not available"):
        resolve_runtime(device)


@pytest.mark.parametrize("device", ["gpu", "mps", "meta"])
def test_a_device_of_another_kind_is_refused(device: str) -> None:
    with pytest.raises(RequestError, match="auto, cpu, cuda or cuda:N"):
        resolve_runtime(device)


def test_processes_of_torchrun_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match="--device cuda:0: not supported with torchrun"):
        resolve_runtime("cuda:0")


def test_variables_that_torchrun_does_not_set_so_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", ""), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert (dist_env.rank(), dist_env.world_size()) == (0, 1)


def test_auto_precision_is_bf16_only_if_the_cpu_supports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_runtime("cpu").precision == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert resolve_runtime("cpu").precision == "fp32"


def test_the_number_of_threads_respects_the_limit_of_a_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    resolve_runtime("cpu")
    assert set_to == [2]
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    resolve_runtime("cpu")
    assert set_to == [2]


def test_tf32_is_set_and_restored() -> None:
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    for tf32 in (True, False):
        with set_tf32(tf32):
            assert torch.backends.cudnn.allow_tf32 is tf32
            assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
