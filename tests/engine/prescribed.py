"""Trainings whose accuracies are prescribed for each epoch, split and network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lskd_cli.config import Preset
from lskd_cli.data import Images
from lskd_cli.engine.training import loop
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.models import Network
from tests.engine.helpers import digest, run_path, train

TEST_IMAGES = 50  # of the fixture ``small_digits``; validation sets have another size


@dataclass
class Prescribed(Callback):
    """A finished run, and the digests of its weights after each epoch.

    Attributes:
        folder: the run folder.
        student: digests of student.safetensors.
        best: digests of best.safetensors.
    """

    folder: Path
    student: list[str] = field(default_factory=list)
    best: list[str] = field(default_factory=list)

    def on_epoch_end(self, student: StudentTrainer) -> None:
        self.student.append(digest(self.folder / "student.safetensors"))
        self.best.append(digest(self.folder / "best.safetensors"))


def train_prescribed(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    preset: Preset,
    top1: Mapping[str, Sequence[float]],
    should_stop: Callable[[], bool] = lambda: False,
) -> Prescribed:
    """Train a preset with prescribed accuracies.

    Args:
        monkeypatch: replaces the evaluation of the loop.
        root: parent of the folders of runs and checkpoints.
        preset: a preset of the digits.
        top1: accuracies by epoch, under "test", "val", "ema_test" and "ema_val".
        should_stop: interrupts the training.
    """
    remaining = {key: iter(values) for key, values in top1.items()}

    def evaluate(network: Network, images: Images, *_: object) -> dict[str, float]:
        is_average = not any(parameter.requires_grad for parameter in network.parameters())
        split = "test" if len(images) == TEST_IMAGES else "val"
        value = next(remaining["ema_" * is_average + split])
        return {"top1": value, "top5": 100.0, "loss": 2.0}

    monkeypatch.setattr(loop, "evaluate", evaluate)
    recorder = Prescribed(run_path(root, preset))
    train([preset], root, recorder, should_stop)
    return recorder
