"""Time of each part of a step, and the ratio of a step to the limit of the hardware.

    python -m benchmarks.parts [--preset kd-r32x4-r8x4] [--rounds 10]

Each part is timed separately, interleaved with complete steps. Two lower limits of the time are
printed: the floating-point operations of the step at the measured rate of a matrix product in the
precision of the engine, and the bytes that its operations read and write at the measured rate of a
copy.
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import (
    Action,
    engine_step,
    interleaved_times,
    machine,
    medians,
    random_images,
)
from lskd_cli.config import Preset, View, load_preset
from lskd_cli.data import CropLoader
from lskd_cli.distillers import StepInputs
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime
from lskd_cli.engine.training.joint_step import student_views, teacher_views
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import Output, create_model


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that operations read and write without a cache, views excluded."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.total += sum(tensor.nbytes for tensor in tensors)
        return result


def parts_of(preset: Preset, runtime: Runtime) -> dict[str, Action]:
    """The parts of a step as separate actions."""
    assert preset.teacher is not None
    trainer, images = StudentTrainer(preset, runtime), random_images()
    distiller = trainer.distiller
    teacher = Teacher(create_model(preset.teacher), runtime)
    loader = CropLoader(images.to(runtime.device), preset.data)
    loader.start_epoch(1, student_views([trainer]), 0)
    spec = loader.batch_spec(0, 1)
    batch, views = loader.make_batch(spec), teacher_views([trainer])
    teacher_outputs = teacher(batch.views, views)
    trainer.start_epoch()

    def student() -> dict[View, Output]:
        with runtime.autocast():
            return {view: trainer.module.run_student(batch.views[view]) for view in distiller.views}

    logits = {view: output.logits.detach().requires_grad_() for view, output in student().items()}
    gradients = {view: torch.ones_like(one) for view, one in logits.items()}

    def loss() -> None:
        outputs = {view: Output(one) for view, one in logits.items()}
        inputs = StepInputs(outputs, teacher_outputs, batch.target, trainer.epoch, batch.index)
        losses = distiller.losses(inputs)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]

    def forward_and_backward() -> None:
        outputs = student()
        torch.autograd.backward(
            [outputs[view].logits for view in outputs], [gradients[view] for view in outputs]
        )

    forward_and_backward()
    return {
        "augmentation": lambda: loader.make_batch(spec),
        "teacher": lambda: teacher(batch.views, views),
        "student forward": student,
        "student forward and backward": forward_and_backward,
        "loss forward and backward": loss,
        "optimizer": trainer.optimizer.step,
    }


def rates(runtime: Runtime) -> tuple[float, float]:
    """Floating-point operations and copied bytes per second, the best of 20 trials."""
    dtype = torch.bfloat16 if runtime.precision == "bf16" else torch.float32
    size = 8192 if runtime.device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=runtime.device, dtype=dtype) for _ in range(2))
    source = torch.empty(1 << 28, dtype=torch.uint8, device=runtime.device)
    target = torch.empty_like(source)
    actions: dict[str, Action] = {
        "product": lambda: torch.mm(left, right, out=left.new_empty(size, size)),
        "copy": lambda: target.copy_(source),
    }
    seconds = interleaved_times(actions, 20, runtime)
    return 2 * size**3 / min(seconds["product"]), 2 * source.nbytes / min(seconds["copy"])


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="kd-r32x4-r8x4")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    preset, runtime = load_preset(options.preset), resolve_runtime()
    whole, steps_per_launch = engine_step([preset], random_images(), runtime)
    actions = parts_of(preset, runtime) | {"whole step": whole}
    step = medians(interleaved_times(actions, options.rounds, runtime))
    step["whole step"] /= steps_per_launch
    step["student backward"] = step.pop("student forward and backward") - step["student forward"]
    print(f"{preset.name}, batch {preset.data.batch_size}; {machine(runtime)}")
    for name in sorted(step, key=step.__getitem__, reverse=True):
        share = 100 * step[name] / step["whole step"]
        print(f"{name:25} {1000 * step[name]:8.2f} ms {share:6.1f} %")
    # Operations are counted in eager steps, because a replayed graph does not show them.
    eager, _ = engine_step([preset], random_images(), Runtime(runtime.device, runtime.precision))
    eager()
    with FlopCounterMode(display=False) as flops:
        eager()
    with _Bytes() as moved:
        eager()
    product, copy = rates(runtime)
    operations = flops.get_total_flops() / steps_per_launch
    transfers = moved.total / steps_per_launch
    by_flops, by_bytes = operations / product, transfers / copy
    print(f"{operations / 1e9:.1f} GFLOP at {product / 1e12:.2f} TFLOP/s: {1000 * by_flops:.1f} ms")
    print(
        f"{transfers / 1e9:.2f} GB at {copy / 1e9:.1f} GB/s: {1000 * by_bytes:.1f} ms without cache"
    )
    print(f"whole step: {step['whole step'] / by_flops:.2f} times the time of its arithmetic")


if __name__ == "__main__":
    main()
