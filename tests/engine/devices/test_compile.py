"""Compilation for full batches, with a fallback to eager execution."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lskd_cli.engine.devices.compile import Compiled


def _double(images: Tensor) -> Tensor:
    return 2 * images


def test_other_sizes_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def compile_(function: Callable[[Tensor], Tensor], **_: Any) -> Callable[[Tensor], Tensor]:
        def compiled(images: Tensor) -> Tensor:
            sizes.append(len(images))
            return function(images)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    run = Compiled(_double, 4, pytest.fail)
    for size in (4, 3, 4, 8):
        assert torch.equal(run(torch.ones(size, 1)), torch.full((size, 1), 2.0))
    assert sizes == [4, 4]


def test_a_failing_compiler_is_reported_once_and_training_continues_eagerly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compile_(function: Callable[[Tensor], Tensor], **_: Any) -> Callable[[Tensor], Tensor]:
        def compiled(images: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler found\nmore about it")

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    heard: list[str] = []
    run = Compiled(_double, 4, heard.append)
    for _ in range(3):
        assert torch.equal(run(torch.ones(4, 1)), torch.full((4, 1), 2.0))
    assert heard == ["--compile: failed; falling back to eager execution: no C++ compiler found"]
