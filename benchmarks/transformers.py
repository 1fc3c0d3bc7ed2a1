"""Steps of each vision transformer, and their augmentation in worker processes.

python -m benchmarks.transformers [--rounds 3] [--batch 32] [--compile]
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count

from tabulate import tabulate

from benchmarks.common import Action, interleaved_times, machine, medians, random_images
from lskd_cli.config import Preset, list_pairs, load_preset
from lskd_cli.data import BatchSpec, InMemoryImages, Loader, create_loader, worker_count
from lskd_cli.engine.devices.cuda_graphs import create_runner
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime
from lskd_cli.engine.training.joint_step import create_joint_step
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import create_model

PAIRS = [pair for pair in list_pairs() if pair.startswith("r56g-")]


def main() -> None:
    """Measure, and print Markdown tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--compile", action="store_true", dest="is_compiled")
    options = parser.parse_args()
    runtime = resolve_runtime(compiled=options.is_compiled)
    print(machine(runtime))
    _print_augmentation(runtime, options.rounds)
    _print_steps(random_images(40 * options.batch), runtime, options.batch, options.rounds)


def _preset(name: str, batch: int) -> Preset:
    return load_preset(name, [f"data.batch_size={batch}"])


def _print_augmentation(runtime: Runtime, rounds: int) -> None:
    """Time of epochs of views alone, including the start of workers."""
    batch, num_batches = 128, 20
    images = random_images(batch * num_batches).to(runtime.device)
    loader = create_loader(images, _preset("kd-r56g-deit-tiny", batch).data)
    actions: dict[str, Action] = {"epoch": partial(_epoch, loader)}
    seconds = medians(interleaved_times(actions, rounds, runtime))["epoch"]
    speed, workers = batch * num_batches / seconds, worker_count()
    print(
        f"augmentation: {speed:.0f} images/s with {workers} workers, {speed / workers:.0f}/core\n"
    )


def _epoch(loader: Loader) -> None:
    loader.start_epoch(1, ["weak"], 0)
    for step in range(loader.num_steps):
        loader.batch_spec(step, 1)


def _specs(loader: Loader) -> Iterator[BatchSpec]:
    for epoch in count(1):
        loader.start_epoch(epoch, ["weak"], 0)
        for step in range(loader.num_steps):
            yield loader.batch_spec(step, 1)


def _print_steps(images: InMemoryImages, runtime: Runtime, batch: int, rounds: int) -> None:
    """Steps with standardized logits, compared with float32."""
    float32 = replace(runtime, precision="fp32", compiled=False, graphs=False)
    rows: list[list[object]] = []
    for pair in PAIRS:
        preset = _preset(f"kd-{pair}", batch).with_stand(True)
        actions = {
            "float32": _step(preset, images, float32),
            "engine": _step(preset, images, runtime),
        }
        found = medians(interleaved_times(actions, rounds, runtime))
        ratio = found["float32"] / found["engine"]
        times = [1000 * found[name] for name in actions]
        rows.append([preset.student, *times, batch / found["engine"], ratio])
    headings = ["student", "eager float32, ms", "engine, ms", "engine, images/s", "ratio"]
    print(tabulate(rows, headings, "github", floatfmt=("", ".0f", ".0f", ".0f", ".2f")))


def _step(preset: Preset, images: InMemoryImages, runtime: Runtime) -> Action:
    student = StudentTrainer(preset, runtime)
    features = student.distiller.required_features
    teacher = Teacher(create_model("resnet56_guide"), runtime, features)
    runner = create_runner(runtime, print)
    loader = create_loader(images.to(runtime.device), preset.data)
    if runtime.compiled:
        student.compile(print)
        teacher.compile(preset.data.batch_size, print)
    student.start_epoch()
    specs = _specs(loader)

    def step() -> None:
        with runtime.precision_context():
            runner.run(create_joint_step(loader, teacher, [student]), next(specs))

    return step


if __name__ == "__main__":
    main()
