"""Compilation of networks with torch.compile, with a fallback to eager execution."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from lskd_cli.engine.devices.types import Warn
from lskd_cli.errors import first_line

Result = TypeVar("Result")


class Compiled(Generic[Result]):
    """A function of images, compiled for batches of one size.

    Batches of other sizes (the partial batch at the end of an epoch) run eagerly, because each size
    would be compiled separately; so do all batches after a compilation error.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Result],
        size: int,
        warn: Warn,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Prepare the compilation; the first batch of the size triggers it.

        Args:
            function: a function of (N, 3, H, W) images.
            size: N for which it is compiled.
            warn: called once if the compilation fails.
            options: options of the compiler.
        """
        self.eager = function
        self.size = size
        self.warn = warn
        self.compiled: Callable[[Tensor], Result] | None = torch.compile(
            function, dynamic=False, options=options
        )

    def __call__(self, images: Tensor) -> Result:
        if self.compiled is None or len(images) != self.size:
            return self.eager(images)
        try:
            return self.compiled(images)
        # A compiler can raise any exception; if the function itself fails, it fails again below.
        except Exception as error:
            self.compiled = None
            self.warn(f"--compile: failed; falling back to eager execution: {first_line(error)}")
            return self.eager(images)
