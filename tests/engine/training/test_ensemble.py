"""Several teachers: what a student learns from them, and which requests fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config import Preset, load_preset
from lskd_cli.distillers import StepInputs, create_distiller
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.engine.training.ensemble import EnsembleLoss
from lskd_cli.errors import RequestError
from lskd_cli.models import Output, create_model
from lskd_cli.zscore import standardize
from tests.engine.helpers import (
    after,
    digest,
    digits_preset,
    metrics,
    run_path,
    train,
    training_options,
)

TWO = ("teacher=[resnet20, resnet14]", "teachers.weights=[3, 1]")
WEIGHTS = (0.75, 0.25)


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT, FIRST, SECOND = (3 * _random(5, 10, seed=seed) for seed in range(3))


def _losses(preset: Preset) -> dict[str, Tensor]:
    both = torch.cat([FIRST, SECOND], dim=1)
    step = StepInputs(
        {"weak": Output(STUDENT)}, {"weak": Output(both)}, torch.arange(5), torch.tensor(30.0),
        torch.arange(5),
    )  # fmt: skip
    return EnsembleLoss(preset, create_distiller(preset))(step)


def test_probabilities_are_averaged_at_the_temperature_of_the_method() -> None:
    preset = load_preset("kd-digits", [*TWO, "method.temperature=3"])
    mean = sum(w * F.softmax(t / 3, dim=1) for w, t in zip(WEIGHTS, (FIRST, SECOND), strict=True))
    divergence = (mean * (mean.log() - F.log_softmax(STUDENT / 3, dim=1))).sum(dim=1).mean()
    losses = _losses(preset)
    torch.testing.assert_close(losses["kd"], 0.9 * 9 * divergence)
    torch.testing.assert_close(losses["ce"], 0.1 * F.cross_entropy(STUDENT, torch.arange(5)))


def test_standardized_logits_are_averaged() -> None:
    preset = load_preset("kd-digits", [*TWO, "stand.enabled=true", "stand.temperature=1.5"])
    mean = np.zeros((5, 10))
    for weight, logits in zip(WEIGHTS, (FIRST.numpy(), SECOND.numpy()), strict=True):
        centered = logits - logits.mean(axis=1, keepdims=True)
        mean += weight * centered / logits.std(axis=1, ddof=1, keepdims=True)
    expected = 9 * kd_loss(STUDENT, torch.from_numpy(mean), 1.5, standardized=True)
    torch.testing.assert_close(_losses(preset)["kd"], expected)


@pytest.mark.parametrize("method", ["kd", "dkd", "dist", "mlkd"])
@pytest.mark.parametrize("standardized", [False, True])
def test_two_equal_teachers_are_one(method: str, standardized: bool) -> None:
    preset = load_preset(f"{method}-digits", TWO)
    if standardized and not preset.can_standardize:
        pytest.skip("no standardized form")
    preset = preset.with_stand(True) if standardized else preset
    views = {
        view: Output(STUDENT.flip(0) if view == "strong" else STUDENT)
        for view in ("weak", "strong")
    }
    for combine in ("probabilities", "losses"):
        update = {"teachers": preset.teachers.model_copy(update={"combine": combine})}
        both = preset.model_copy(update=update)
        distiller = create_distiller(both)
        step: dict[str, Any] = {
            "student": views, "target": torch.arange(5), "epoch": torch.tensor(30.0),
            "index": torch.arange(5),
        }  # fmt: skip
        one = distiller.losses(StepInputs(teacher={v: Output(FIRST) for v in views}, **step))
        doubled = {v: Output(torch.cat([FIRST, FIRST], dim=1)) for v in views}
        two = EnsembleLoss(both, distiller)(StepInputs(teacher=doubled, **step))
        for name, loss in one.items():
            torch.testing.assert_close(two[name], loss, rtol=1e-6, atol=1e-9)


def test_separate_losses_are_averaged() -> None:
    preset = load_preset("dkd-digits", [*TWO, "teachers.combine=losses"])
    found = _losses(preset)
    distiller = create_distiller(preset)
    parts = [
        distiller.losses(
            StepInputs(
                {"weak": Output(STUDENT)}, {"weak": Output(logits)}, torch.arange(5),
                torch.tensor(30.0), torch.arange(5),
            )
        )
        for logits in (FIRST, SECOND)
    ]  # fmt: skip
    for name in ("ce", "dkd"):
        torch.testing.assert_close(found[name], 0.75 * parts[0][name] + 0.25 * parts[1][name])
    assert standardize(FIRST).std() > 0


def _second_teacher(root: Path) -> None:
    training_options(root)
    path = root / "checkpoints" / "resnet14.safetensors"
    torch.manual_seed(1)
    metadata = {"model": "resnet14", "num_classes": "10", "dataset": "digits", "top1": "40.00"}
    save_checkpoint(path, create_model("resnet14", 10).state_dict(), metadata)


@pytest.mark.usefixtures("small_digits")
def test_a_joint_run_is_resumed_and_knows_its_teachers(tmp_path: Path) -> None:
    presets = [
        digits_preset("kd", False, 2, *TWO),
        digits_preset("kd", True, 2, *TWO),
        digits_preset("mlkd", False, 2, "teacher=[resnet20, resnet14]", "teachers.combine=losses"),
    ]
    for root in ("whole", "resumed", "cached"):
        _second_teacher(tmp_path / root)
    train(presets, tmp_path / "whole")
    with pytest.raises(Exception, match="stopped at epoch 1"):
        train(presets, tmp_path / "resumed", should_stop=after(2))
    train(presets, tmp_path / "resumed")
    for preset in presets:
        one, other = (
            digest(run_path(tmp_path / root, preset) / "student.safetensors")
            for root in ("whole", "resumed")
        )
        assert one == other
    info = json.loads((run_path(tmp_path / "whole", presets[0]) / "run.json").read_text())
    assert info["teacher"].endswith("resnet14.safetensors")
    assert " + " in info["teacher"]
    assert len(info["teacher_sha256"]) == 64
    train(presets[:2], tmp_path / "cached", cache_dir=tmp_path / "cached/checkpoints/logits")
    for preset in presets[:2]:
        records = (metrics(run_path(tmp_path / root, preset)) for root in ("whole", "cached"))
        for first, second in zip(*records, strict=True):
            assert second["train_loss"] == pytest.approx(first["train_loss"], rel=2e-3)
    # Another second teacher is another ensemble.
    torch.manual_seed(2)
    path = tmp_path / "resumed" / "checkpoints" / "resnet14.safetensors"
    metadata = {"model": "resnet14", "num_classes": "10", "dataset": "digits"}
    save_checkpoint(path, create_model("resnet14", 10).state_dict(), metadata)
    changed = [digits_preset("kd", False, 3, *TWO)]
    with pytest.raises(RequestError, match="contains a run with other settings"):
        train(changed, tmp_path / "resumed")


def test_wrong_requests_are_refused() -> None:
    for settings, message in (
        (["teachers.combine=losses"], "teachers: only valid with several teachers"),
        ([TWO[0], "teachers.weights=[1, 2, 3]"], "teachers.weights: needs 2 values"),
        ([TWO[0], "teachers.weights=[1, 0]"], "teachers.weights"),
    ):
        with pytest.raises(RequestError, match=message):
            load_preset("kd-digits", settings)
    for method in ("at", "sdd_kd", "wkd"):
        with pytest.raises(RequestError, match="uses more of a teacher than its logits"):
            create_distiller(load_preset(f"{method}-digits", [TWO[0]]))
