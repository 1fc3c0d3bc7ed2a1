"""What a network costs: parameters, multiply-adds and latency."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_MIN_SECONDS = 0.5  # of a measurement


@dataclass(frozen=True)
class NetworkCost:
    """Size and speed of a network for one image.

    Attributes:
        parameters: number of parameters.
        multiply_adds: number of multiply-adds of convolutions and matrix products.
        latency: median seconds for one image on the CPU.
        threads: number of threads of the measurement.
    """

    parameters: int
    multiply_adds: int
    latency: float
    threads: int


@torch.inference_mode()
def measure_cost(network: nn.Module, image_size: int) -> NetworkCost:
    """Count and time a network in evaluation mode on the CPU."""
    # Its import logs a warning on machines without CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    image = torch.zeros(1, 3, image_size, image_size)
    with _unfused_attention(), FlopCounterMode(display=False) as counter:
        network(image)
    threads = torch.get_num_threads()
    timer = Timer(
        "network(image)", globals={"network": network, "image": image}, num_threads=threads
    )
    median = timer.blocked_autorange(min_run_time=_MIN_SECONDS).median
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return NetworkCost(parameters, counter.get_total_flops() // 2, float(median), threads)


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Attention as matrix products, because fused kernels of a CPU are not counted."""
    is_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
