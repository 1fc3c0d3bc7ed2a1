"""Execution of training steps: eagerly, or captured once as a CUDA graph and replayed.

A GPU finishes a kernel of a small network before Python has launched the next one. A graph launches
all kernels of several steps at once. A captured function may depend only on tensors at fixed
addresses, so the inputs are copied to static tensors before every replay.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

from lskd_cli.data import BatchSpec
from lskd_cli.engine.devices.graph_check import StepState
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.errors import first_line, is_out_of_memory

WARMUP_RUNS = 3  # before the capture, for the choice of algorithms and for memory allocation
_STEPS_PER_LAUNCH = 8  # on CUDA; 512 images per forward pass of the teacher

_is_capturing = False


def _not_compared() -> StepState | None:
    return None


@dataclass(frozen=True)
class JointStep:
    """Work on a batch specification: a shared part, then branches that do not depend on each other.

    Attributes:
        key: identifies the functions; equal keys and tensor shapes mean the same work.
        shared: returns the arguments of all branches.
        branches: computations that change tensors in place.
        state: called after a capture; returns the tensors that the branches change, with which the
            captured step is compared with an eager one, or None if steps draw random numbers, so
            that no two are equal.
        replay_seed: seed of the random numbers of a replay. Eager branches seed their own; a
            capture ignores that.
    """

    key: Hashable
    shared: Callable[[BatchSpec], tuple[Any, ...]]
    branches: Sequence[Callable[..., None]]
    state: Callable[[], StepState | None] = _not_compared
    replay_seed: int = 0


class StepRunner(Protocol):
    """Runs training steps on a batch specification.

    Attributes:
        steps_per_launch: number of steps that are run at once; the teacher sees their images in one
            forward pass.
    """

    steps_per_launch: int

    def run(self, step: JointStep, spec: BatchSpec) -> None:
        """Run the shared part of a step on a specification, then every branch on its result."""


class EagerRunner:
    """Runs every step immediately, branch by branch."""

    def __init__(self, steps_per_launch: int) -> None:
        self.steps_per_launch = steps_per_launch

    def run(self, step: JointStep, spec: BatchSpec) -> None:
        arguments = step.shared(spec)
        for branch in step.branches:
            branch(*arguments)


class GraphRecorder(Protocol):
    """Captures the work of a function on a device."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run the function under the conditions of the capture."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture the function without running it, and return its replay.

        Raises:
            RuntimeError: the function contains an operation that cannot be captured.
        """

    def parallel(self, functions: Sequence[Callable[[], None]]) -> None:
        """Run independent functions in parallel."""


class GraphRunner:
    """Runs a step eagerly a few times, then captures and replays it.

    The first replay of every graph is compared with the same steps executed eagerly, whose result
    counts. If they differ, all steps are executed eagerly from then on.
    """

    def __init__(self, recorder: GraphRecorder, steps_per_launch: int, warn: Warn) -> None:
        """Start without any captured graph.

        Args:
            recorder: captures on the device.
            steps_per_launch: number of steps that are run at once.
            warn: called once if a capture fails, or a captured step is wrong.
        """
        self.recorder: GraphRecorder | None = recorder
        self.parallel = recorder.parallel
        self.steps_per_launch = steps_per_launch
        self.warn = warn
        self.warmup_runs: dict[Hashable, int] = {}
        self.graphs: dict[Hashable, tuple[BatchSpec, Callable[[], None]]] = {}

    def run(self, step: JointStep, spec: BatchSpec) -> None:
        key = (step.key, *(tensor.shape for tensor in spec.tensors()))

        def run_eagerly(inputs: BatchSpec) -> None:
            arguments = step.shared(inputs)
            self.parallel([partial(branch, *arguments) for branch in step.branches])

        if self.recorder is None:
            run_eagerly(spec)
        elif self.warmup_runs.setdefault(key, 0) < WARMUP_RUNS:
            self.warmup_runs[key] += 1
            self.recorder.warm_up(partial(run_eagerly, spec))
        elif key in self.graphs:
            self._replay(key, spec, step.replay_seed)
        elif not self._capture(key, spec, run_eagerly):
            run_eagerly(spec)
        elif (state := step.state()) is None:
            self._replay(key, spec, step.replay_seed)
        else:
            self._check_replay(key, spec, run_eagerly, state)

    def _replay(self, key: Hashable, spec: BatchSpec, seed: int) -> None:
        static_inputs, replay = self.graphs[key]
        for static, tensor in zip(static_inputs.tensors(), spec.tensors(), strict=True):
            static.copy_(tensor)
        torch.manual_seed(seed)
        replay()

    def _check_replay(
        self,
        key: Hashable,
        spec: BatchSpec,
        run_eagerly: Callable[[BatchSpec], None],
        state: StepState,
    ) -> None:
        """Run a step as a graph and eagerly from the same state; disable graphs if they differ."""
        assert self.recorder is not None
        before = state.copy()
        self._replay(key, spec, seed=0)  # steps that are compared draw no random numbers
        replayed = state.copy()
        state.restore(before)
        self.recorder.warm_up(partial(run_eagerly, spec))
        problem = replayed.problem(before, state)
        if problem is not None:
            self.recorder = None
            self.graphs.clear()
            self.warn(
                f"--graphs: disabled: captured steps differ from eager ones: {problem}; the "
                "results are those of eager steps; please report it"
            )

    def _capture(
        self, key: Hashable, spec: BatchSpec, run_eagerly: Callable[[BatchSpec], None]
    ) -> bool:
        """Capture a step; False if that fails, after which all steps run eagerly."""
        global _is_capturing
        assert self.recorder is not None
        static_inputs = spec.map(torch.Tensor.clone)
        _is_capturing = True
        try:
            self.graphs[key] = (
                static_inputs,
                self.recorder.capture(partial(run_eagerly, static_inputs)),
            )
        except RuntimeError as error:
            # The error of an operation is the context of that of the end of the capture.
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if is_out_of_memory(cause):
                raise cause from None
            self.recorder = None
            self.graphs.clear()  # and their memory
            self.warn(f"--graphs: failed; falling back to eager execution: {first_line(cause)}")
            return False
        finally:
            _is_capturing = False
        return True


def seed_generators(seed: int) -> None:
    """Seed the random generators, except during a capture.

    A graph keeps its own offset into the random numbers of a device; they are seeded before its
    replay.
    """
    if not _is_capturing:
        torch.manual_seed(seed)


class CudaGraphRecorder:
    """Captures CUDA graphs; parallel functions become branches of a graph."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.capture_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.branch_streams: list[torch.cuda.Stream] = []

    def warm_up(self, function: Callable[[], None]) -> None:
        # The default stream cannot be captured, so the warm-up does not use it either.
        current = torch.cuda.current_stream(self.device)
        self.capture_stream.wait_stream(current)
        with torch.cuda.stream(self.capture_stream):
            function()
        current.wait_stream(self.capture_stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self.device)
        try:
            with (
                torch.cuda.device(self.device),
                # Threads that pin the batches of a DataLoader use CUDA meanwhile.
                torch.cuda.graph(
                    graph, self.pool, self.capture_stream, capture_error_mode="thread_local"
                ),
            ):
                function()
        except BaseException:
            self._end_failed_capture(current)
            raise
        return graph.replay

    def _end_failed_capture(self, stream: torch.cuda.Stream) -> None:
        """Undo what a failed capture leaves: its stream, and the modes of generator and memory."""
        torch.cuda.set_stream(stream)
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        fresh = torch.Generator(torch.device("cuda", index))
        torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())
        # Before PyTorch 2.13 the allocator continued to keep all freed memory for the capture;
        # later versions have ended that, and raise an error.
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(index, self.pool)

    def parallel(self, functions: Sequence[Callable[[], None]]) -> None:
        while len(self.branch_streams) < len(functions):
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self.branch_streams.append(stream)
        current = torch.cuda.current_stream(self.device)
        branches = list(zip(self.branch_streams, functions, strict=False))
        for stream, function in branches:
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                function()
        for stream, _ in branches:
            current.wait_stream(stream)


def create_runner(runtime: Runtime, warn: Warn) -> StepRunner:
    """The runner for a device."""
    # A CPU is fastest with one batch at a time, which fits its cache. Several processes share one
    # batch at a time.
    is_single_gpu = runtime.device.type == "cuda" and runtime.process_group.world_size == 1
    steps_per_launch = _STEPS_PER_LAUNCH if is_single_gpu else 1
    if runtime.graphs:
        return GraphRunner(CudaGraphRecorder(runtime.device), steps_per_launch, warn)
    return EagerRunner(steps_per_launch)
