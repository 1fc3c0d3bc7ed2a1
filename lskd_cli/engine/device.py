"""Where a run computes, in which precision, and how fast it is asked to be."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import joblib
import torch
from torch import nn

from lskd_cli.engine.team import ALONE, Team
from lskd_cli.errors import RequestError
from lskd_cli.launch import is_launched, local_rank, world_size

PrecisionName = Literal["auto", "fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class Compute:
    """A device and the precision of convolutions and matrix products on it.

    Weights, batch-norm statistics, losses and the optimizer are float32 in every precision.

    Attributes:
        device: a CPU or a CUDA device.
        precision: fp32; tf32, whose factors are rounded to 10 bits (CUDA only); bf16.
        graphs: record steps as CUDA graphs.
        compiled: compile the networks.
        team: the processes that compute together, each on a device of its own.
    """

    device: torch.device
    precision: Literal["fp32", "tf32", "bf16"]
    graphs: bool = False
    compiled: bool = False
    team: Team = ALONE

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def arithmetic(self) -> AbstractContextManager[None]:
        """Context of everything that trains."""
        return float32_products(tf32=self.precision == "tf32")

    def place(self, module: nn.Module) -> None:
        """Move a module to the device; convolution weights are laid out channels last."""
        module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Context in which CUDA multiplies float32 exactly, or with factors rounded to tf32.

    Algorithms of convolutions are chosen by trial: the sizes of images and batches do not change.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def resolve_compute(
    device: str = "auto",
    precision: PrecisionName = "auto",
    graphs: bool | None = None,
    compiled: bool = False,
) -> Compute:
    """The device and precision of a request; on a CPU, also the number of threads is set.

    Args:
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Processes that torchrun
            started take a GPU each with "auto" and "cuda".
        precision: "auto" takes bf16 where the hardware multiplies it natively.
        graphs: record steps as CUDA graphs; None does so on CUDA.
        compiled: compile the networks.

    Raises:
        RequestError: the device is not there, or it has no such precision, or no graphs.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and is_launched():
        device = f"cuda:{local_rank()}"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise RequestError(f"--device {device}: not a device; auto, cpu, cuda or cuda:N") from None
    if resolved.type not in ("cpu", "cuda"):
        raise RequestError(f"--device {device}: not supported; auto, cpu, cuda or cuda:N")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "none"
        raise RequestError(f"--device {device}: not available here ({found}); try --device cpu")
    if resolved.type == "cpu":
        _limit_threads()
        if precision == "tf32":
            raise RequestError("--precision tf32: of CUDA devices only; take fp32 or bf16")
        if graphs:
            raise RequestError("--graphs: needs a CUDA device; leave it out on a CPU")
    if precision == "auto":
        precision = "bf16" if has_native_bf16(resolved) else "fp32"
    elif precision == "bf16" and resolved.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RequestError("--precision bf16: this GPU has none; take --precision fp32")
    several = world_size() > 1
    if several and graphs:
        raise RequestError("--graphs: of one process; leave it out with torchrun")
    use_graphs = resolved.type == "cuda" and not several if graphs is None else graphs
    return Compute(resolved, precision, use_graphs, compiled)


def _limit_threads() -> None:
    """Use the cores that this process may use: PyTorch counts those of the machine.

    In a container with a share of a large machine, a thread for each of its cores is many times
    slower. Who sets OMP_NUM_THREADS knows better.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))


def has_native_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is in hardware: emulated, it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
