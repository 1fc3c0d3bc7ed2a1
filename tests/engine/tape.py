"""A recorder for CPUs that works as a CUDA graph does: the same kernels on the same memory.

Every operation is noted with the tensors it reads and writes. Replaying runs the operations again,
into the very tensors of the recording, whatever Python would do today. What a CUDA graph cannot
record fails here too: reading a value, and copying one from Python to the device.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# On a device these wait for it, or copy from the memory of the host.
FORBIDDEN = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.lift_fresh.default,
}


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.changes: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FORBIDDEN:
            raise RuntimeError(f"operation not permitted while recording: {func}")
        kwargs = kwargs or {}
        inputs = [(tensor, tensor.detach().clone()) for tensor in _tensors((args, kwargs))]
        result = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, result))
        self.changes += [(now, then) for now, then in inputs if not torch.equal(now, then)]
        return result

    @torch.no_grad()
    def undo(self) -> None:
        """Leave the memory as it was: a recording runs nothing."""
        for tensor, before in reversed(self.changes):
            tensor.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, before in self.operations:
            after = func(*args, **kwargs)
            for old, new in zip(_tensors(before), _tensors(after), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class Tape:
    """Records on a CPU; counts what it did."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def warm_up(self, function: Callable[[], None]) -> None:
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        tape = _Tape()
        with tape:
            function()
        tape.undo()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay

    def together(self, functions: Sequence[Callable[[], None]]) -> None:
        for function in functions:
            function()
