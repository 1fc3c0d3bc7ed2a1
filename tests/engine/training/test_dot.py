"""DOT: the optimizer against the reference, and trainings with it."""

import math
from pathlib import Path

import pytest
import torch

from lskd_cli.config import load_preset
from lskd_cli.config.requests import PresetOptions, requested_preset
from lskd_cli.data import Batch
from lskd_cli.engine.training.dot import DOT
from lskd_cli.engine.training.optimizer import create_optimizer
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import RequestError
from lskd_cli.models import Output
from tests.engine.helpers import CPU, after, digest, digits_preset, run_path, train
from tests.golden_inputs import chirp, load

GOLDEN = next(case for case in load("frontier")["cases"] if case["name"] == "dot")
SETTINGS = {key: GOLDEN[key] for key in ("lr", "momentum", "delta", "weight_decay")}


def test_steps_equal_the_reference() -> None:
    parameters = [chirp((5,), 0.11, 0.71), chirp((3, 2), 0.5, 1.3)]
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = DOT(parameters, **SETTINGS)
    for k, expected in enumerate(GOLDEN["trajectory"]):
        kd = sum((0.7 * (p - 0.3 * math.cos(k)) ** 2).sum() for p in parameters)
        task = sum((torch.sin(p) * (1 + 0.1 * k)).sum() for p in parameters)
        optimizer.zero_grad()
        kd_gradients = torch.autograd.grad(kd, parameters)
        task.backward()
        optimizer.step(kd_gradients)
        for parameter, values in zip(parameters, expected, strict=True):
            target = torch.tensor(values, dtype=torch.float64)
            torch.testing.assert_close(parameter.detach().flatten(), target.flatten())


@pytest.mark.parametrize("by_kd", [False, True])
def test_a_parameter_that_one_loss_reaches_has_the_plain_momentum(by_kd: bool) -> None:
    start = chirp((4,), 0.1, 0.7)
    alone, plain = start.clone().requires_grad_(), start.clone().requires_grad_()
    optimizer = DOT([alone], **SETTINGS)
    keys = ("lr", "momentum", "weight_decay")
    sgd = torch.optim.SGD([plain], **{key: SETTINGS[key] for key in keys})
    for k in range(4):
        optimizer.zero_grad()
        gradient = torch.cos(start + k)
        alone.grad, plain.grad = (None if by_kd else gradient), gradient
        optimizer.step([gradient if by_kd else None])
        sgd.step()
    torch.testing.assert_close(alone, plain)


def test_wrong_momenta_are_refused() -> None:
    with pytest.raises(ValueError, match="must be from 0 to below 1"):
        DOT([torch.zeros(1, requires_grad=True)], 0.1, momentum=0.95, delta=0.05)
    for setting, message in (
        ("optimizer.momentum=0.95", r"momentum: must be from delta \(0.075\)"),
        ("optimizer.nesterov=true", "nesterov: only valid with sgd"),
    ):
        with pytest.raises(RequestError, match=message):
            load_preset("kd-digits", ["optimizer.name=dot", setting])
    with pytest.raises(RequestError, match="delta: only valid with dot"):
        load_preset("kd-digits", ["optimizer.delta=0.05"])


DOT_SETTINGS = ("optimizer.name=dot", "optimizer.delta=0.06")


def test_the_task_is_the_cross_entropy_and_distillation_is_all_else() -> None:
    """One step of the engine against two gradients by hand."""
    preset = digits_preset("mlkd", True, 2, *DOT_SETTINGS, "optimizer.clip_grad_norm=0.5")
    trainer, expected = (StudentTrainer(preset, CPU) for _ in range(2))
    optimizer, rates = create_optimizer(
        expected.module, expected.student, preset.optimizer, CPU.device
    )
    views = {view: torch.randn(8, 3, 16, 16) for view in ("weak", "strong")}
    batch = Batch(views, torch.arange(8), torch.arange(8))
    teacher = {view: Output(torch.randn(8, 10)) for view in views}
    trainer.start_epoch()
    trainer.train_steps(batch, teacher)
    expected.start_epoch()
    rates.set(expected.learning_rate)
    _, losses = expected.module(batch, teacher, expected.epoch)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kd = torch.autograd.grad(
        losses["kd"] + losses["cc"] + losses["bc"], parameters, retain_graph=True
    )
    task = torch.autograd.grad(losses["ce"], parameters)
    norm = math.sqrt(sum((a + b).square().sum().item() for a, b in zip(kd, task, strict=True)))
    assert norm > 0.5
    for parameter, gradient in zip(parameters, task, strict=True):
        parameter.grad = gradient * 0.5 / norm
    assert isinstance(optimizer, DOT)
    optimizer.step([gradient * 0.5 / norm for gradient in kd])
    for (name, found), other in zip(
        trainer.student.named_parameters(), expected.student.parameters(), strict=True
    ):
        torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.usefixtures("small_digits")
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    # Micro-batches, and an adapter that the cross entropy does not reach.
    presets = [
        digits_preset("kd", True, 2, *DOT_SETTINGS, "optimizer.grad_accum_steps=2"),
        digits_preset("fitnet", False, 2, *DOT_SETTINGS),
    ]
    train(presets, tmp_path / "whole")
    with pytest.raises(Exception, match="stopped at epoch 1"):
        train(presets, tmp_path / "resumed", should_stop=after(2))
    train(presets, tmp_path / "resumed")
    for preset in presets:
        assert "+dot" in preset.run_path
        one, other = (
            digest(run_path(tmp_path / root, preset) / "student.safetensors")
            for root in ("whole", "resumed")
        )
        assert one == other


def test_the_run_is_named_and_has_no_published_value() -> None:
    changes = PresetOptions(["optimizer.name=dot"])
    preset = requested_preset("kd-r32x4-r8x4", changes, Path())
    assert preset.run_name == "kd-r32x4-r8x4+dot"
    assert preset.with_stand(True).run_name == "kd-r32x4-r8x4+dot+stand"
    assert preset.published.top1 is None
    assert requested_preset("kd-r32x4-r8x4", PresetOptions(), Path()).published.top1 == 73.33
