"""Where the time of a step goes, and how far it is from what the machine can do.

    python -m benchmarks.parts [--preset kd-r32x4-r8x4] [--rounds 10]

Each part is timed alone, by turns with the whole step. The floor is the larger of two times: the
step's floating-point operations at the measured rate of a matrix product in the engine's precision,
and the bytes of its batch norms, activations and weights at the measured rate of a copy.
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Action, by_turns, engine_step, machine, medians, random_images
from lskd_cli.config import Preset, load_preset
from lskd_cli.data import CropLoader, rows
from lskd_cli.distillers import Step
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import Compute, resolve_compute
from lskd_cli.engine.step import teacher_views
from lskd_cli.engine.teacher import Teacher
from lskd_cli.models import Output, create_model


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes that the operations read and write, had they no cache; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.total += sum(tensor.nbytes for tensor in tensors)
        return result


def parts_of(preset: Preset, compute: Compute) -> dict[str, Action]:
    """The parts of a step, each to be run alone."""
    assert preset.teacher is not None
    arm, images = Arm(preset, compute), random_images()
    teacher = Teacher(create_model(preset.teacher), compute)
    loader = CropLoader(images.to(compute.device), preset.data)
    draws = rows(loader.draws(1, arm.distiller.views), loader.part(0, 1))
    batch = loader.cut(draws)
    views = teacher_views([arm])
    taught = teacher(batch.views, views)
    arm.begin_epoch()

    def student() -> dict[str, Output]:
        with compute.autocast():
            return {view: arm.learner.run(batch.views[view]) for view in arm.distiller.views}

    logits = {view: output.logits.detach().requires_grad_() for view, output in student().items()}
    slopes = {view: torch.ones_like(one) for view, one in logits.items()}

    def loss() -> None:
        outputs = {view: Output(one) for view, one in logits.items()}
        losses = arm.distiller.losses(
            Step(outputs, taught, batch.target, arm.epoch, batch.index)  # type: ignore[arg-type]
        )
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]

    def forward_and_backward() -> None:
        outputs = student()
        torch.autograd.backward(
            [outputs[view].logits for view in outputs], [slopes[view] for view in outputs]
        )

    forward_and_backward()
    return {
        "augmentation": lambda: loader.cut(draws),
        "teacher": lambda: teacher(batch.views, views),
        "student forward": student,
        "student forward and backward": forward_and_backward,
        "loss, both ways": loss,
        "optimizer": arm.optimizer.step,
    }


def rates(compute: Compute) -> tuple[float, float]:
    """Floating-point operations and copied bytes a second, the best of many trials."""
    dtype = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    size = 8192 if compute.device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=compute.device, dtype=dtype) for _ in range(2))
    source = torch.empty(1 << 28, dtype=torch.uint8, device=compute.device)
    target = torch.empty_like(source)
    actions: dict[str, Action] = {
        "product": lambda: torch.mm(left, right, out=left.new_empty(size, size)),
        "copy": lambda: target.copy_(source),
    }
    seconds = by_turns(actions, 20, compute.device)
    return 2 * size**3 / min(seconds["product"]), 2 * source.nbytes / min(seconds["copy"])


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="kd-r32x4-r8x4")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    preset, compute = load_preset(options.preset), resolve_compute()
    whole, ahead = engine_step([preset], random_images(), compute)
    actions = parts_of(preset, compute) | {"whole step": whole}
    step = medians(by_turns(actions, options.rounds, compute.device))
    step["whole step"] /= ahead
    step["student backward"] = step.pop("student forward and backward") - step["student forward"]
    print(f"{preset.name}, batch {preset.data.batch_size}; {machine(compute)}")
    for name in sorted(step, key=step.__getitem__, reverse=True):
        share = 100 * step[name] / step["whole step"]
        print(f"{name:18} {1000 * step[name]:8.2f} ms {share:6.1f} %")
    # Counted in eager steps: a recorded one shows none of its operations.
    eager, _ = engine_step([preset], random_images(), Compute(compute.device, compute.precision))
    eager()
    with FlopCounterMode(display=False) as flops:
        eager()
    with _Bytes() as moved:
        eager()
    product, copy = rates(compute)
    operations, transfers = flops.get_total_flops() / ahead, moved.total / ahead
    by_flops, by_bytes = operations / product, transfers / copy
    print(f"{operations / 1e9:.1f} GFLOP at {product / 1e12:.2f} TFLOP/s: {1000 * by_flops:.1f} ms")
    print(f"{transfers / 1e9:.2f} GB at {copy / 1e9:.1f} GB/s: {1000 * by_bytes:.1f} ms, uncached")
    print(f"whole step: {step['whole step'] / by_flops:.2f} times the floor of its arithmetic")


if __name__ == "__main__":
    main()
