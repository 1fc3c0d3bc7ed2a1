"""What the students of a joint run share."""

from pathlib import Path

import pytest
import torch

from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.preprocessing import Preprocessing
from tests.engine.helpers import CPU, digits_preset, silent, training_options


@pytest.mark.usefixtures("tiny_digits")
def test_the_teacher_sees_images_with_its_own_normalization(tmp_path: Path) -> None:
    options, preset = training_options(tmp_path), digits_preset()
    path = options.checkpoints_dir / "resnet20.safetensors"
    stored = load_checkpoint(path)
    own = Preprocessing(16, (0.5, 0.4, 0.3), (0.2, 0.5, 0.9))
    metadata = {**stored.metadata, "preprocessing": own.to_json()}
    save_checkpoint(path, stored.weights, metadata)
    with prepare([preset], options, CPU, silent) as plan:
        (joint_run,) = plan.joint_runs
        teacher = joint_run.create_teacher(joint_run.create_students())
    assert teacher is not None
    pixels = torch.rand(4, 3, 16, 16)
    data_mean, data_std, mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (preset.data.mean, preset.data.std, own.mean, own.std)
    )
    found = teacher({"weak": (pixels - data_mean) / data_std}, ["weak"])["weak"].logits
    network = stored.load_network("resnet20", 10, 16)
    with torch.no_grad():
        torch.testing.assert_close(found, network((pixels - mean) / std), rtol=1e-3, atol=1e-4)
