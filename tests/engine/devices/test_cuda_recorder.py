"""Calls of PyTorch's CUDA graphs, recorded without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from lskd_cli.engine.devices.cuda_graphs import CudaGraphRecorder

DEVICE = torch.device("cuda", 1)


class _Graph:
    def replay(self) -> None: ...


class _Generator:
    def __init__(self, *_: object) -> None:
        self.state = "in capture mode" if not _ else "new"

    def graphsafe_get_state(self) -> str:
        return self.state

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


class _Cuda:
    """What a capture asks PyTorch for; its end fails after an error, and leaves its stream."""

    def __init__(self) -> None:
        self.current: object = "default stream"
        self.device: torch.device | None = None
        self.captures: list[tuple[object, ...]] = []
        self.generators = [_Generator(), _Generator()]

    @contextmanager
    def use(self, device: torch.device) -> Iterator[None]:
        self.device = device
        yield
        self.device = None

    @contextmanager
    def graph(
        self, graph: object, pool: object, stream: object, capture_error_mode: str
    ) -> Iterator[None]:
        self.captures.append((self.device, pool, stream, capture_error_mode))
        before, self.current = self.current, stream
        try:
            yield
        except RuntimeError:
            raise RuntimeError("capture_end failed")  # noqa: B904
        self.current = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> _Cuda:
    cuda = _Cuda()
    for name, value in {
        "CUDAGraph": _Graph,
        "Stream": lambda device: f"stream of {device}",
        "current_stream": lambda device: cuda.current,
        "default_generators": cuda.generators,
        "device": cuda.use,
        "graph": cuda.graph,
        "graph_pool_handle": lambda: "pool",
        "set_stream": lambda stream: setattr(cuda, "current", stream),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "Generator", _Generator)
    return cuda


def test_a_capture_uses_its_own_device_and_stream(cuda: _Cuda) -> None:
    recorder = CudaGraphRecorder(DEVICE)
    recorder.capture(lambda: None)
    # Other threads, which pin batches, may use CUDA during the capture.
    assert cuda.captures == [(DEVICE, "pool", "stream of cuda:1", "thread_local")]
    assert cuda.current == "default stream"


def test_a_failed_capture_leaves_stream_generator_and_memory_as_before(
    cuda: _Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def end(*arguments: object) -> None:
        ended.append(arguments)
        raise RuntimeError("not currently recording")  # in newer versions of PyTorch

    def fail() -> None:
        raise RuntimeError("operation not permitted")

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end)
    recorder = CudaGraphRecorder(DEVICE)
    with pytest.raises(RuntimeError, match="capture_end failed") as raised:
        recorder.capture(fail)
    assert str(raised.value.__context__) == "operation not permitted"
    assert cuda.current == "default stream"
    assert ended == [(1, "pool")]
    assert [generator.state for generator in cuda.generators] == ["in capture mode", "new"]
