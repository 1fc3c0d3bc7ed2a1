"""Evaluation of several networks on the same images."""

from dataclasses import replace
from pathlib import Path

import pytest

from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.engine.inference.network_evaluation import evaluate_networks
from lskd_cli.engine.inference.trained_network import load_trained_network
from lskd_cli.preprocessing import Preprocessing
from tests.engine.helpers import CPU, digits_preset, silent


def test_every_network_sees_images_with_its_own_preprocessing(
    trained: Path, tmp_path: Path, small_digits: None
) -> None:
    """The same weights with another normalization give other losses, whatever the order."""
    stored = load_checkpoint(trained / "runs" / "kd-digits" / "seed0" / "student.safetensors")
    own = Preprocessing.of_data(digits_preset().data)
    other = replace(own, mean=(0.9, 0.9, 0.9), std=(0.1, 0.1, 0.1))
    models = []
    for name, view in (("own", own), ("other", other)):
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, stored.weights, stored.metadata | {"preprocessing": view.to_json()})
        models.append(load_trained_network(path, None, None, "last", tmp_path))
    alone = [evaluate_networks([model], None, tmp_path, CPU, silent)[0]["loss"] for model in models]
    assert abs(alone[0] - alone[1]) > 0.01
    first, second = evaluate_networks(models, None, tmp_path, CPU, silent)
    assert [first["loss"], second["loss"]] == pytest.approx(alone)
    (student,) = evaluate_networks([models[0]], models[1], tmp_path, CPU, silent)
    assert [student["loss"], student["teacher_loss"]] == pytest.approx(alone)
    assert student["kl"] > 0
