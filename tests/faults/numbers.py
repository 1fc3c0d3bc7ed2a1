"""Gradients and losses that are not finite, in a random step."""

import random
from pathlib import Path

import torch
from torch import Tensor

from lskd_cli.distillers import StepInputs
from lskd_cli.distillers.kd import KD
from lskd_cli.errors import RunError
from tests.engine.helpers import digest, digits_preset, run_path, train
from tests.faults.outcome import Outcome

_CASES = 20


def run(root: Path) -> list[Outcome]:
    """Train with a bad step, then resume without it."""
    outcome = Outcome(
        "a loss or gradient that is not finite",
        "one line; the last good state is kept and resumes to the same weights",
    )
    preset = digits_preset(epochs=2)
    train([preset], root / "good", checkpoint_interval=0)
    expected = digest(run_path(root / "good", preset) / "student.safetensors")
    losses = KD.losses
    chance = random.Random(0)
    for number in range(_CASES):
        bad_step, is_gradient = chance.randrange(2, 40), number % 2 == 0
        step = 0

        def bad_losses(
            self: KD, inputs: StepInputs, bad: int = bad_step, in_gradient: bool = is_gradient
        ) -> dict[str, Tensor]:
            nonlocal step
            step += 1
            terms = losses(self, inputs)
            if step != bad:
                return terms
            zero = (0 * inputs.student["weak"].logits).sum().abs()
            return terms | {"bad": zero.sqrt() if in_gradient else zero + torch.inf}

        KD.losses = bad_losses  # type: ignore[method-assign]
        try:
            train([preset], root / str(number), checkpoint_interval=0)
            message = "no error"
        except RunError as error:
            message = str(error)
        finally:
            KD.losses = losses  # type: ignore[method-assign]
        train([preset], root / str(number))
        weights = run_path(root / str(number), preset) / "student.safetensors"
        outcome.check(
            f"step {bad_step}: {message}", "not finite" in message and digest(weights) == expected
        )
    return [outcome]
