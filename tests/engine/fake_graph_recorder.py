"""A graph recorder for CPUs that behaves like a CUDA graph: the same kernels on the same memory.

It records every operation with its tensors. A replay runs the operations again on the tensors of
the capture, whatever Python would do now. What a CUDA graph cannot capture fails here too: reading
a value from the device, and copying one from Python to the device. As with CUDA, the end of such a
capture fails as well, and its error follows that of the operation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# On a device, these operations synchronize, or copy from host memory. Some read a value inside
# their kernel, where nothing else on a CPU would notice it.
FORBIDDEN = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.masked_fill.Tensor,
    torch.ops.aten.masked_fill_.Tensor,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.repeat_interleave.Tensor,
    torch.ops.aten.where.default,
}
INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
}


def _synchronizes(func: Any, args: Any) -> bool:
    """Whether an operation waits for the device; masks as indices are counted."""
    has_mask = func in INDEXING and any(
        index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1])
    )
    return func in FORBIDDEN or has_mask


class _OperationRecorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.changes: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _synchronizes(func, args):
            raise RuntimeError(f"operation not permitted during the capture: {func}")
        kwargs = kwargs or {}
        inputs = [(tensor, tensor.detach().clone()) for tensor in _tensors((args, kwargs))]
        result = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, result))
        self.changes += [(now, then) for now, then in inputs if not torch.equal(now, then)]
        return result

    @torch.no_grad()
    def undo(self) -> None:
        """Restore the memory, because a capture runs nothing."""
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


class FakeGraphRecorder:
    """Captures on a CPU, and counts captures and replays."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    def warm_up(self, function: Callable[[], None]) -> None:
        function()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        operations = _OperationRecorder()
        try:
            with operations:
                function()
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        finally:
            operations.undo()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            operations.replay()

        return replay

    def parallel(self, functions: Sequence[Callable[[], None]]) -> None:
        for function in functions:
            function()
