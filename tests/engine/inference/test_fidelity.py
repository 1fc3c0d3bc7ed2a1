"""Fast paths compute the same losses as a plain float32 loop over ten steps.

The plain loop is written out here: a teacher without fused batch norms, one batch at a time, and no
CUDA graphs. Tolerances are relative, for the loss of each step. Even equal arithmetic in another
order diverges over time, so they grow with the number of steps.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.data import BatchSpec, CropLoader, load_splits
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.engine.devices.cuda_graphs import EagerRunner, StepRunner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.joint_step import create_joint_step
from lskd_cli.engine.training.student_trainer import StudentTrainer, create_student
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.teacher_cache import TeacherCache
from lskd_cli.models import Network, create_model
from tests.engine.helpers import CPU, digits_preset, silent

STEPS = 10
PRESET = digits_preset("kd", True, 2, "data.image_size=32")
BF16 = Runtime(torch.device("cpu"), "bf16")


def _teacher() -> Network:
    torch.manual_seed(1)
    return create_model("resnet20", 10)


def _loader() -> CropLoader:
    return CropLoader(load_splits(PRESET.data, Path(), silent).train, PRESET.data)


def _specs(loader: CropLoader) -> Iterator[tuple[int, BatchSpec]]:
    """Step within the epoch, and specification, of full batches of as many epochs as necessary."""
    per_epoch = len(loader.images) // PRESET.data.batch_size
    for number in range(STEPS):
        epoch, step = divmod(number, per_epoch)
        if step == 0:
            loader.start_epoch(epoch + 1, ["weak"], 0)
        yield step, loader.batch_spec(step, 1)


@pytest.fixture(scope="module")
def plain() -> Tensor:
    """Losses of the plain loop."""
    loader, teacher, student = _loader(), _teacher().eval(), create_student(PRESET)
    settings, method = PRESET.optimizer, PRESET.effective_method()
    assert method.name == "kd"
    optimizer = torch.optim.SGD(
        student.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
    )
    losses = []
    for _, spec in _specs(loader):
        batch = loader.make_batch(spec)
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
    runtime: Runtime,
    runner: StepRunner,
    cache_path: Path | None = None,
    compiled: bool = False,
) -> Tensor:
    """Losses of the engine: the mean over the steps of each launch."""
    loader, student = _loader(), StudentTrainer(PRESET, runtime)
    teacher = Teacher(_teacher(), runtime)
    if compiled:
        student.compile(pytest.fail)
        teacher.compile(PRESET.data.batch_size, pytest.fail)
    cache = TeacherCache(cache_path, teacher, loader) if cache_path else None
    student.start_epoch()
    losses = []
    for step, spec in _specs(loader):
        if cache is not None:
            if step == 0:
                cache.start_epoch()
            spec.weak_logits = cache(step, 1)
        runner.run(create_joint_step(loader, teacher, [student]), spec)
        losses.append(torch.tensor(student.meters.means()["train_loss"]))
        student.meters.reset()
    return torch.stack(losses)


def _assert_close(found: Tensor, plain: Tensor, early: float, late: float) -> None:
    """Relative: ``early`` over the first ten steps, ``late`` on average over all."""
    expected = plain.view(len(found), -1).mean(dim=1).to(found)
    difference = ((found - expected) / expected).abs()
    assert difference[: 10 * len(found) // STEPS].max().item() < early
    assert difference.mean().item() < late


def test_the_losses_fall(plain: Tensor) -> None:
    assert plain[-5:].mean().item() < 0.9 * plain[:5].mean().item()


def test_float32_of_the_engine(plain: Tensor) -> None:
    _assert_close(_losses(CPU, EagerRunner(1)), plain, early=5e-3, late=2e-2)


@pytest.mark.slow  # without native bf16, a CPU needs a second per step
def test_bf16(plain: Tensor) -> None:
    _assert_close(_losses(BF16, EagerRunner(1)), plain, early=3e-2, late=5e-2)


def test_teacher_cache(plain: Tensor, tmp_path: Path) -> None:
    losses = _losses(CPU, EagerRunner(1), tmp_path / "logits.npy")
    _assert_close(losses, plain, early=5e-3, late=2e-2)


@pytest.mark.slow
def test_compiled(plain: Tensor) -> None:
    _assert_close(_losses(CPU, EagerRunner(1), compiled=True), plain, early=5e-3, late=2e-2)
    _assert_close(_losses(BF16, EagerRunner(1), compiled=True), plain, early=3e-2, late=5e-2)
