"""Forward passes and losses of every method on fake CUDA tensors, which need no GPU.

Fake tensors have shapes, types and devices, but no values: an operation that mixes devices, or that
reads a value from the device, fails.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
)

from lskd_cli.config import Preset, load_preset, method_names
from lskd_cli.data import Batch
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.distillation_module import DistillationModule
from lskd_cli.engine.training.student_trainer import create_seeded_distiller
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.models import create_model
from lskd_cli.zscore import standardize

CUDA = torch.device("cuda", 0)
BATCH = 8

pytestmark = pytest.mark.skipif(
    not torch.backends.cuda.is_built(), reason="PyTorch is built without CUDA"
)


def _presets() -> Iterator[Preset]:
    for method in method_names():
        preset = load_preset(f"{method}-digits" if method != "none" else "alone-digits100")
        yield preset
        if preset.can_standardize:
            yield preset.with_stand(True)


def _move(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace parameters and buffers by fake ones on the device."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = mode.from_tensor(parameter.detach()).to(CUDA)
                part._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer).to(CUDA)


@pytest.mark.parametrize("preset", list(_presets()), ids=lambda preset: preset.run_name)
def test_losses_stay_on_the_device(preset: Preset) -> None:
    student = create_model(preset.student_model, 10)
    teacher = create_model(preset.teacher, 10) if preset.teacher else None
    distiller = create_seeded_distiller(preset, teacher, torch.arange(100) % 10, student)
    runtime = Runtime(CUDA, "fp32")
    features = distiller.required_features
    for network in (student, teacher):
        if network is not None and features:
            network.enable_features()
    module = DistillationModule(student, distiller, runtime, ViewAdapter(32), 0.1)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        _move(module, mode)
        images = {view: torch.zeros(BATCH, 3, 32, 32, device=CUDA) for view in distiller.views}
        target = torch.zeros(BATCH, dtype=torch.int64, device=CUDA)
        batch = Batch(images, target, target)
        outputs = {}
        if teacher is not None:
            _move(teacher, mode)
            with torch.no_grad():
                outputs = {
                    view: teacher.forward_features(pixels).select(features)
                    for view, pixels in images.items()
                }
        logits, losses = module(batch, outputs, torch.ones((), device=CUDA))
        assert logits.shape == (BATCH, 10)
        for name, loss in losses.items():
            assert (loss.shape, loss.device, loss.dtype) == ((), CUDA, torch.float32), name


def test_reading_a_value_fails() -> None:
    with FakeTensorMode():
        logits = torch.zeros(2, 3, device=CUDA)
        assert isinstance(standardize(logits), FakeTensor)
        with pytest.raises(DataDependentOutputException):
            logits.sum().item()
        with pytest.raises(RuntimeError, match="same device"):
            logits + torch.zeros(2, 3)
