"""Functions that torch.compile makes faster, where it can."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
Notify = Callable[[str], None]


class Compiled(Generic[Result]):
    """A function of images, compiled for batches of one size.

    Other sizes (the partial batch at the end of an epoch) run as they are, since each would be
    compiled anew; so does everything once compiling has failed.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Result],
        size: int,
        notify: Notify,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Prepare; the first batch of the size compiles.

        Args:
            function: of (N, 3, H, W) images.
            size: N of the batches that it is compiled for.
            notify: told, once, when compiling fails.
            options: of the compiler.
        """
        self.plain = function
        self.size = size
        self.notify = notify
        self.compiled: Callable[[Tensor], Result] | None = torch.compile(
            function, dynamic=False, options=options
        )

    def __call__(self, images: Tensor) -> Result:
        if self.compiled is None or len(images) != self.size:
            return self.plain(images)
        try:
            return self.compiled(images)
        # A compiler can fail in any way; where the function itself does, it does so again below.
        except Exception as error:
            self.compiled = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.notify(f"--compile: not possible here, training goes on without: {reason}")
            return self.plain(images)
