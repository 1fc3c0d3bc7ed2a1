"""How steps are executed: one by one from Python, or recorded once and replayed.

A GPU is done with a small network's kernel sooner than Python has started the next. Recorded as a
graph, all kernels of several steps start at once. What is recorded may depend on nothing but
tensors that stay where they are: the inputs are copied into such before every replay.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch

from lskd_cli.data import Draws
from lskd_cli.engine.compiled import Notify
from lskd_cli.engine.device import Compute

_WARM_UP = 3  # runs before recording, in which libraries choose algorithms and take memory
_AHEAD_ON_CUDA = 8  # 512 images a time for the teacher


class Execution(Protocol):
    """Runs a function of draws that returns nothing and changes tensors in place.

    Attributes:
        ahead: steps that are run at once: the teacher sees their images in one forward pass.
    """

    ahead: int

    def __call__(self, key: Hashable, function: Callable[[Draws], None], inputs: Draws) -> None:
        """Run; what has the same key and shapes of inputs is the same function."""

    def together(self, functions: Sequence[Callable[[], None]]) -> None:
        """Run functions that do not depend on each other, within one that is being run."""

    def seed(self, number: int) -> None:
        """Let random numbers from here on derive from a seed; what is recorded ignores it."""


class Eager:
    """Everything is run when it is asked for."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead

    def __call__(self, key: Hashable, function: Callable[[Draws], None], inputs: Draws) -> None:
        function(inputs)

    def together(self, functions: Sequence[Callable[[], None]]) -> None:
        for function in functions:
            function()

    def seed(self, number: int) -> None:
        torch.manual_seed(number)


class Recorder(Protocol):
    """Records what a function does to a device's memory."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run the function as it would run while it is recorded."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """What repeats the function; recording it does not run it.

        Raises:
            RuntimeError: it does something that cannot be recorded.
        """

    def together(self, functions: Sequence[Callable[[], None]]) -> None:
        """Run independent functions side by side."""


class Replayed:
    """Runs a function some times, then records it, then replays it."""

    def __init__(self, recorder: Recorder, ahead: int, notify: Notify) -> None:
        """Start without any recording.

        Args:
            recorder: of the device.
            ahead: steps that are run at once.
            notify: told, once, when recording is not possible.
        """
        self.recorder: Recorder | None = recorder
        self.ahead = ahead
        self.notify = notify
        self.together = recorder.together
        self.recording = False
        self.runs: dict[Hashable, int] = {}
        self.recordings: dict[Hashable, tuple[Draws, Callable[[], None]]] = {}

    def __call__(self, key: Hashable, function: Callable[[Draws], None], inputs: Draws) -> None:
        key = (key, *((name, values.shape) for name, values in inputs.items()))
        if self.recorder is None:
            function(inputs)
        elif self.runs.setdefault(key, 0) < _WARM_UP:
            self.runs[key] += 1
            self.recorder.warm_up(lambda: function(inputs))
        else:
            if key not in self.recordings:
                held = {name: values.clone() for name, values in inputs.items()}
                self.recording = True
                try:
                    self.recordings[key] = held, self.recorder.record(lambda: function(held))
                except RuntimeError as error:
                    self._give_up(error)
                    self.recording = False
                    function(inputs)
                    return
                self.recording = False
            held, replay = self.recordings[key]
            for name, values in inputs.items():
                held[name].copy_(values)
            replay()

    def seed(self, number: int) -> None:
        # A graph keeps its place in a device's random numbers, and starts where they are set.
        if not self.recording:
            torch.manual_seed(number)

    def _give_up(self, error: RuntimeError) -> None:
        if isinstance(error, torch.OutOfMemoryError):
            raise error
        self.recorder = None
        reason = str(error).strip().splitlines()[0]
        self.notify(f"--graphs: not possible here, training goes on without: {reason}")


class CudaGraphs:
    """Records CUDA graphs; independent functions become branches of one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.branches: list[torch.cuda.Stream] = []

    def warm_up(self, function: Callable[[], None]) -> None:
        # Not on the default stream, which cannot be recorded.
        before = torch.cuda.current_stream(self.device)
        self.aside.wait_stream(before)
        with torch.cuda.stream(self.aside):
            function()
        before.wait_stream(self.aside)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            function()
        return graph.replay

    def together(self, functions: Sequence[Callable[[], None]]) -> None:
        while len(self.branches) < len(functions):
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self.branches.append(stream)
        before = torch.cuda.current_stream(self.device)
        used = list(zip(self.branches, functions, strict=False))
        for stream, function in used:
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                function()
        for stream, _ in used:
            before.wait_stream(stream)


def execution(compute: Compute, notify: Notify) -> Execution:
    """How steps are executed on a device."""
    # A CPU is fastest with one batch at a time, which stays in its cache; several processes take
    # their rows of one batch at a time.
    is_ahead = compute.device.type == "cuda" and compute.team.size == 1
    ahead = _AHEAD_ON_CUDA if is_ahead else 1
    if compute.graphs:
        return Replayed(CudaGraphs(compute.device), ahead, notify)
    return Eager(ahead)
