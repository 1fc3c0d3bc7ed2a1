"""From presets to finished runs: what one command trains, checked before anything is written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from lskd_cli.checkpoints import Checkpoint, load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import Dataset, ImageSet, Loader, load_dataset, num_classes
from lskd_cli.download import Progress
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import Compute
from lskd_cli.engine.loop import Listener, run_pass
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.teacher import Teacher, find_teacher
from lskd_cli.errors import Interrupted, RunError
from lskd_cli.models import create_model


@dataclass
class Places:
    """Folders of a command, and the teacher's file where one is given."""

    data: Path
    checkpoints: Path
    runs: Path
    teacher_checkpoint: Path | None = None


@dataclass
class Pass:
    """Arms that are trained together, ready to start.

    Attributes:
        arms: unfinished runs with their folders.
        finished: runs that need nothing.
        teacher: the frozen network.
        teacher_source: the file that it came from.
    """

    arms: list[tuple[Arm, RunFolder]]
    finished: list[RunFolder]
    compute: Compute
    teacher: Teacher | None
    teacher_source: Checkpoint | None
    dataset: Dataset | None

    def run(self, listener: Listener, command: str, stopping: Callable[[], bool]) -> None:
        """Train to the end; the state of every run is kept up to date in its run.json."""
        if not self.arms or self.dataset is None:
            return
        details: dict[str, Any] = {
            "command": command,
            "device": _device_name(self.compute),
            "precision": self.compute.precision,
            **_teacher_details(self.teacher_source),
            "arms_in_pass": [arm.preset.run_name for arm, _ in self.arms],
        }
        for arm, folder in self.arms:
            folder.begin(arm.preset, details)
        try:
            run_pass(self.arms, self.teacher, self.dataset, listener, stopping)
        except Interrupted:
            self._mark("interrupted")
            raise
        except RunError as error:
            self._mark("failed", error=str(error))
            raise
        for _, folder in self.arms:
            folder.finish()

    def _mark(self, state: str, **details: str) -> None:
        for _, folder in self.arms:
            folder.update(state=state, **details)


def group_passes(presets: Sequence[Preset]) -> list[list[Preset]]:
    """Presets that may share a pass: same images, teacher, seed and number of epochs."""

    def key(preset: Preset) -> tuple[str, ...]:
        shared = (preset.data, preset.teacher, preset.seed, preset.schedule.epochs)
        return tuple(str(value) for value in shared)

    return [list(group) for _, group in groupby(sorted(presets, key=key), key=key)]


@contextmanager
def prepared_pass(
    presets: Sequence[Preset],
    places: Places,
    compute: Compute,
    progress: Progress,
    fresh: bool = False,
) -> Iterator[Pass]:
    """Lock the folders of presets that share a pass, and build everything their training needs.

    Nothing is written before all of it is there. With ``fresh``, earlier runs are moved aside.

    Raises:
        RequestError: settings, teacher, data or folders do not fit the request.
        RunError: a download failed.
    """
    with ExitStack() as stack:
        unfinished, finished = [], []
        for preset in presets:
            folder = RunFolder.of(places.runs, preset)
            stack.enter_context(folder.locked())
            if not fresh:
                folder.check(preset, compute.precision)
            if folder.finished and not fresh:
                finished.append(folder)
            else:
                unfinished.append((Arm(preset, compute), folder))
        if not unfinished:
            yield Pass([], finished, compute, None, None, None)
            return
        teacher, source = _teacher([arm for arm, _ in unfinished], places, compute)
        data = unfinished[0][0].preset.data
        dataset = load_dataset(data, places.data, progress)
        for arm, folder in unfinished:
            if fresh:
                folder.move_aside()
            else:
                folder.resume(arm)
        dataset = Dataset(
            dataset.train.to(compute.device),
            dataset.test.to(compute.device),
            dataset.val.to(compute.device) if dataset.val else None,
        )
        yield Pass(unfinished, finished, compute, teacher, source, dataset)


def rehearse(preset: Preset, compute: Compute) -> dict[str, float]:
    """One training step on random images with an untrained teacher; writes nothing.

    Returns:
        The parts of the loss.

    Raises:
        RequestError: the preset names a network that does not exist.
        RunError: a loss is not finite.
    """
    arm = Arm(preset, compute)
    classes = num_classes(preset.data.name)
    generator = torch.Generator().manual_seed(preset.seed)
    images = torch.randint(0, 256, (4, 32, 32, 3), generator=generator, dtype=torch.uint8)
    loader = Loader(
        ImageSet(images, torch.arange(4) % classes).to(compute.device), preset.data, preset.seed
    )
    batch = next(loader.epoch(1, arm.distiller.views))
    outputs = {}
    if preset.teacher is not None:
        network = create_model(preset.teacher, classes)
        teacher = Teacher(network, compute, arm.distiller.needs_features)
        outputs = teacher(batch.views, arm.distiller.views)
    arm.step(batch, outputs)
    return arm.meters.read(epoch=1)


def _teacher(
    arms: Sequence[Arm], places: Places, compute: Compute
) -> tuple[Teacher | None, Checkpoint | None]:
    learning = [arm for arm in arms if arm.distiller.needs_teacher]
    if not learning:
        return None, None
    preset = learning[0].preset
    assert preset.teacher is not None
    if places.teacher_checkpoint is not None:
        checkpoint = load_checkpoint(places.teacher_checkpoint)
    else:
        checkpoint = find_teacher(preset, places.checkpoints, places.runs)
    network = checkpoint.network(preset.teacher, num_classes(preset.data.name))
    features = any(arm.distiller.needs_features for arm in learning)
    return Teacher(network, compute, features), checkpoint


def _teacher_details(source: Checkpoint | None) -> dict[str, str | float | None]:
    if source is None:
        return {"teacher": None, "teacher_top1": None}
    top1 = source.metadata.get("top1")
    return {"teacher": str(source.path), "teacher_top1": float(top1) if top1 else None}


def _device_name(compute: Compute) -> str:
    if compute.device.type == "cuda":
        return torch.cuda.get_device_name(compute.device)
    return f"cpu ({torch.get_num_threads()} threads)"
