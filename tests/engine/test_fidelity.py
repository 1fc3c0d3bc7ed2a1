"""Fast paths compute the same thing: losses of fifty steps beside those of plain float32.

The plain loop is written out here: unfolded teacher, one batch at a time, nothing recorded. Stated
tolerances are of each step's loss, relative; chaos lets even equal arithmetic in another order
drift, so they grow with the steps.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import Preset
from lskd_cli.data import CropLoader, Draws, load_dataset, rows
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.engine.arm import Arm, initial_student
from lskd_cli.engine.device import Compute
from lskd_cli.engine.replay import Eager, Execution, Replayed
from lskd_cli.engine.step import KNOWN, take_steps
from lskd_cli.engine.teacher import Teacher
from lskd_cli.engine.teacher_cache import TeacherCache
from lskd_cli.models import Network, create_model
from tests.engine.helpers import CPU, digits_preset, silent
from tests.engine.tape import Tape

STEPS = 50
PRESET = digits_preset("kd", True)
BF16 = Compute(torch.device("cpu"), "bf16")


def _teacher() -> Network:
    torch.manual_seed(1)
    return create_model("resnet20", 10)


def _loader() -> CropLoader:
    return CropLoader(load_dataset(PRESET.data, Path(), silent).train, PRESET.data)


def _draws(loader: CropLoader) -> list[Draws]:
    """One batch a step, over as many epochs as that takes; whole batches alone."""
    whole = len(loader.images) // PRESET.data.batch_size
    epochs = [loader.draws(1 + epoch, ["weak"]) for epoch in range(-(-STEPS // whole))]
    steps = [rows(draws, loader.part(step, 1)) for draws in epochs for step in range(whole)]
    return steps[:STEPS]


@pytest.fixture(scope="module")
def plain() -> Tensor:
    """Losses of the plain loop."""
    loader, teacher, student = _loader(), _teacher().eval(), initial_student(PRESET)
    settings, method = PRESET.optimizer, PRESET.applied_method()
    assert method.name == "kd"
    optimizer = torch.optim.SGD(
        student.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
    )
    losses = []
    for draws in _draws(loader):
        batch = loader.cut(draws)
        images = batch.views["weak"].contiguous()
        with torch.no_grad():
            target = teacher(images)
        logits = student(images)
        ce = F.cross_entropy(logits, batch.target)
        kd = kd_loss(logits, target, method.temperature, standardized=True)
        loss = method.ce_weight * ce + method.kd_weight * kd
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def _losses(
    compute: Compute,
    execute: Execution,
    cache: Callable[[Preset, Teacher], TeacherCache] | None = None,
    compiled: bool = False,
) -> Tensor:
    """Losses of the engine, one for each ``execute.ahead`` steps: their mean."""
    loader, arm = _loader(), Arm(PRESET, compute)
    teacher = Teacher(_teacher(), compute)
    if compiled:
        arm.compile(pytest.fail)
        teacher.compile(PRESET.data.batch_size, pytest.fail)
    kept = cache(PRESET, teacher) if cache else None
    arm.begin_epoch()
    steps, losses = _draws(loader), []
    for start in range(0, STEPS, execute.ahead):
        part = steps[start : start + execute.ahead]
        draws = {name: torch.cat([one[name] for one in part]) for name in part[0]}
        if kept is not None:
            draws[KNOWN + "weak"] = kept(loader, draws)
        execute("steps", partial(take_steps, loader, teacher, [arm], execute), draws)
        losses.append(torch.tensor(arm.meters.read(1)["train_loss"]))
        arm.meters.reset()
    return torch.stack(losses)


def _assert_close(found: Tensor, plain: Tensor, early: float, late: float) -> None:
    """Relative: ``early`` over the first ten steps, ``late`` on average over all."""
    expected = plain.view(len(found), -1).mean(dim=1).to(found)
    difference = ((found - expected) / expected).abs()
    assert difference[: 10 * len(found) // STEPS].max().item() < early
    assert difference.mean().item() < late


def test_the_losses_fall(plain: Tensor) -> None:
    assert plain[-10:].mean().item() < 0.9 * plain[:10].mean().item()


def test_float32_of_the_engine(plain: Tensor) -> None:
    _assert_close(_losses(CPU, Eager(1)), plain, early=5e-3, late=2e-2)


def test_bf16(plain: Tensor) -> None:
    _assert_close(_losses(BF16, Eager(1)), plain, early=3e-2, late=5e-2)


def test_teacher_ahead(plain: Tensor) -> None:
    _assert_close(_losses(CPU, Eager(5)), plain, early=5e-3, late=2e-2)


def test_recorded_steps(plain: Tensor) -> None:
    _assert_close(_losses(CPU, Replayed(Tape(), 1, pytest.fail)), plain, early=5e-3, late=2e-2)


def test_teacher_cache(plain: Tensor, tmp_path: Path) -> None:
    def cache(preset: Preset, teacher: Teacher) -> TeacherCache:
        return TeacherCache(tmp_path / "logits.npy", teacher, preset, len(_loader().images))

    _assert_close(_losses(CPU, Eager(1), cache), plain, early=5e-3, late=2e-2)


@pytest.mark.slow
def test_compiled(plain: Tensor) -> None:
    _assert_close(_losses(CPU, Eager(1), compiled=True), plain, early=5e-3, late=2e-2)
    _assert_close(_losses(BF16, Eager(1), compiled=True), plain, early=3e-2, late=5e-2)
