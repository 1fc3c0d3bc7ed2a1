"""Where a run computes, and in which precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from lskd_cli.errors import RequestError

PrecisionName = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Compute:
    """A device and the precision of convolutions and matrix products on it.

    Weights, batch-norm statistics, losses and the optimizer are float32 in either precision.
    """

    device: torch.device
    precision: Literal["fp32", "bf16"]

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def place(self, module: nn.Module) -> None:
        """Move a module to the device; convolution weights are laid out channels last."""
        module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def resolve_compute(device: str = "auto", precision: PrecisionName = "auto") -> Compute:
    """The device and precision of a request.

    Args:
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        precision: "auto" takes bf16 where the hardware multiplies it natively.

    Raises:
        RequestError: the device is not there, or it has no bf16.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise RequestError(f"--device {device}: not a device; auto, cpu, cuda or cuda:N") from None
    if resolved.type not in ("cpu", "cuda"):
        raise RequestError(f"--device {device}: not supported; auto, cpu, cuda or cuda:N")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "none"
        raise RequestError(f"--device {device}: not available here ({found}); try --device cpu")
    if precision == "auto":
        precision = "bf16" if has_native_bf16(resolved) else "fp32"
    elif precision == "bf16" and resolved.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RequestError("--precision bf16: this GPU has none; take --precision fp32")
    return Compute(resolved, precision)


def has_native_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is in hardware: emulated, it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
