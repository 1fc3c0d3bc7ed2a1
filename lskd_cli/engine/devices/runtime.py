"""The device, the precision and the process group that a command uses."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import joblib
import torch
from torch import nn

from lskd_cli.config import PrecisionName
from lskd_cli.engine.devices.dist_env import is_launched, local_rank, world_size
from lskd_cli.engine.devices.distributed import SINGLE_PROCESS, ProcessGroup
from lskd_cli.errors import RequestError


@dataclass(frozen=True)
class Runtime:
    """A device and the precision of convolutions and matrix products on it.

    Weights, batch-norm statistics, losses and optimizer states are float32 in every precision.

    Attributes:
        device: a CPU or a CUDA device.
        precision: fp32; tf32, which rounds factors to 10 bits (CUDA only); or bf16.
        graphs: whether to capture training steps as CUDA graphs.
        compiled: whether to compile the networks.
        process_group: the processes that train together, each on a device of its own.
    """

    device: torch.device
    precision: Literal["fp32", "tf32", "bf16"]
    graphs: bool = False
    compiled: bool = False
    process_group: ProcessGroup = SINGLE_PROCESS

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def precision_context(self) -> AbstractContextManager[None]:
        """Context of training."""
        return set_tf32(self.precision == "tf32")

    def synchronize(self) -> None:
        """Wait until the device has finished all work, so that measured times are those of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> str:
        """Device, with the number of threads of a CPU and the number of processes."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"cpu ({torch.get_num_threads()} threads)"
        world_size = self.process_group.world_size
        return name if world_size == 1 else f"{world_size} x {name}"

    def to_device(self, module: nn.Module) -> None:
        """Move a module to the device, with convolution weights in channels-last layout."""
        module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def set_tf32(enabled: bool) -> Iterator[None]:
    """Context in which CUDA computes float32 products exactly, or with factors rounded to tf32.

    cuDNN benchmarks its convolution algorithms, because the sizes of images and batches are fixed.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = enabled
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=enabled):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def resolve_runtime(
    device: str = "auto",
    precision: PrecisionName = "auto",
    graphs: bool | None = None,
    compiled: bool = False,
) -> Runtime:
    """The runtime of a request; on a CPU, it also sets the number of threads.

    Args:
        device: "auto" (CUDA if available), "cpu", "cuda" or "cuda:N". With "auto" and "cuda", each
            process that torchrun started uses a GPU of its own.
        precision: "auto" selects bf16 where the hardware supports it natively.
        graphs: whether to capture steps as CUDA graphs; None means on CUDA with one process.
        compiled: whether to compile the networks.

    Raises:
        RequestError: the device is not available, or does not support the precision or graphs.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and is_launched():
        device = f"cuda:{local_rank()}"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise RequestError(
            f"--device {device}: not a device; choose auto, cpu, cuda or cuda:N"
        ) from None
    if resolved.index is not None and is_launched() and device != f"cuda:{local_rank()}":
        raise RequestError(
            f"--device {device}: not supported with torchrun, whose processes need a GPU each; use "
            "--device cuda"
        )
    if resolved.type not in ("cpu", "cuda"):
        raise RequestError(f"--device {device}: not supported; choose auto, cpu, cuda or cuda:N")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise RequestError(
            f"--device {device}: not available ({count} CUDA devices found); use --device cpu"
        )
    if resolved.type == "cpu":
        _limit_threads()
        if precision == "tf32":
            raise RequestError("--precision tf32: requires CUDA; use fp32 or bf16")
        if graphs:
            raise RequestError("--graphs: requires CUDA; leave it out on a CPU")
    if precision == "auto":
        precision = "bf16" if has_native_bf16(resolved) else "fp32"
    elif precision == "bf16" and resolved.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RequestError("--precision bf16: not supported by this GPU; use --precision fp32")
    is_distributed = world_size() > 1
    if is_distributed and graphs:
        raise RequestError("--graphs: not supported with torchrun; leave it out")
    use_graphs = resolved.type == "cuda" and not is_distributed if graphs is None else graphs
    return Runtime(resolved, precision, use_graphs, compiled)


def _limit_threads() -> None:
    """Use the cores that are granted to this process, unless OMP_NUM_THREADS is set.

    PyTorch starts a thread for each core of the machine; in a container with few of these cores,
    this is many times slower.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))


def has_native_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bf16; emulation would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
