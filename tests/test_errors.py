"""The exceptions that end a command."""

import pytest
import torch

from lskd_cli.errors import first_line, is_out_of_memory


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no kernel image\nmore", "no kernel image"),
        ("\n  no kernel image  ", "no kernel image"),
        ("", "RuntimeError"),
        (" \n", "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(message: str, line: str) -> None:
    assert first_line(RuntimeError(message)) == line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_too_small_a_memory_is_recognized(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
