"""From presets to finished runs: a whole request, checked before anything is written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from lskd_cli.checkpoints import Checkpoint, load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import Dataset, ImageSet, create_loader, load_dataset, num_classes
from lskd_cli.distillers import reads_features
from lskd_cli.download import Progress
from lskd_cli.engine.arm import Arm, initial_distiller, initial_student
from lskd_cli.engine.device import Compute
from lskd_cli.engine.loop import Listener, run_pass
from lskd_cli.engine.replay import Eager
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.step import take_steps
from lskd_cli.engine.teacher import Teacher, find_teacher
from lskd_cli.engine.teacher_cache import TeacherCache, cache_path
from lskd_cli.errors import Interrupted, RequestError, RunError
from lskd_cli.layout import weights_file
from lskd_cli.models import create_model, list_models, nearest_models


@dataclass
class Places:
    """Folders of a command, the teacher's file where one is given, a folder to keep its logits."""

    data: Path
    checkpoints: Path
    runs: Path
    teacher_checkpoint: Path | None = None
    teacher_cache: Path | None = None


@dataclass
class Pass:
    """Runs that are trained together: same images, teacher and number of epochs.

    Attributes:
        runs: unfinished ones, each with its folder.
        source: the teacher's file; None where no method needs a teacher.
        dataset: on the device.
        cache: folder that keeps the teacher's logits; None computes them anew.
    """

    runs: list[tuple[Preset, RunFolder]]
    compute: Compute
    source: Checkpoint | None
    dataset: Dataset
    cache: Path | None = None

    def arms(self) -> list[tuple[Arm, RunFolder]]:
        """The students, each where its run was left.

        Raises:
            RequestError: a saved state is damaged.
        """
        arms = []
        for preset, folder in self.runs:
            arm = Arm(preset, self.compute)
            folder.resume(arm)
            arms.append((arm, folder))
        return arms

    def train(
        self,
        arms: Sequence[tuple[Arm, RunFolder]],
        listener: Listener,
        command: str,
        stopping: Callable[[], bool],
    ) -> None:
        """Train to the end; every run.json says how it ended.

        Raises:
            Interrupted: ``stopping`` said so; every state is saved.
            RunError: a loss was not finite, memory or disk were full; the last state is kept.
        """
        details: dict[str, Any] = {
            "command": command,
            "device": _device_name(self.compute),
            "precision": self.compute.precision,
            "graphs": self.compute.graphs,
            "compiled": self.compute.compiled,
            "teacher_cache": self.cache is not None and self.source is not None,
            **_teacher_details(self.source),
            "arms_in_pass": [arm.preset.run_path for arm, _ in arms],
        }
        try:
            for arm, folder in arms:
                folder.begin(arm.preset, details)
            with self.compute.arithmetic():
                teacher = self._teacher(arms)
                cache = self._cache(arms, teacher)
                run_pass(arms, teacher, cache, self.dataset, listener, stopping)
        except Interrupted:
            self._mark("interrupted")
            raise
        except torch.OutOfMemoryError as error:
            self._mark("failed", error=str(error))
            raise RunError(
                f"{self.compute.device}: out of memory; fewer --preset or --seeds at a time, "
                "or --set data.batch_size=LOWER"
            ) from error
        except Exception as error:
            self._mark("failed", error=str(error))
            raise
        for arm, folder in arms:
            folder.finish(arm)

    def _teacher(self, arms: Sequence[tuple[Arm, RunFolder]]) -> Teacher | None:
        if self.source is None:
            return None
        preset = arms[0][0].preset
        assert preset.teacher is not None
        network = self.source.network(preset.teacher, num_classes(preset.data.name))
        features = any(arm.distiller.needs_features for arm, _ in arms)
        return Teacher(network, self.compute, features)

    def _cache(
        self, arms: Sequence[tuple[Arm, RunFolder]], teacher: Teacher | None
    ) -> TeacherCache | None:
        if self.cache is None or self.source is None or teacher is None:
            return None
        preset = arms[0][0].preset
        path = cache_path(self.cache, self.source, preset, self.compute)
        return TeacherCache(path, teacher, preset, len(self.dataset.train))

    def _mark(self, state: str, **details: str) -> None:
        for _, folder in self.runs:
            # Where the disk is full this cannot be written either; the first error is the one.
            with suppress(RunError):
                folder.update(state=state, **details)


@dataclass
class Job:
    """What a request comes to.

    Attributes:
        passes: to be trained, one after the other.
        finished: runs that need nothing.
        moved: where earlier runs are now, with ``fresh``.
    """

    passes: list[Pass]
    finished: list[RunFolder]
    moved: list[Path]


@contextmanager
def prepared(
    presets: Sequence[Preset],
    places: Places,
    compute: Compute,
    progress: Progress,
    fresh: bool = False,
) -> Iterator[Job]:
    """Lock the folders of all runs, and see that everything their training needs is there.

    Only then are earlier runs moved aside, with ``fresh``, and is anything but locks written.

    Raises:
        RequestError: networks, settings, teacher, data or folders do not fit the request.
        RunError: a download failed.
    """
    check_networks(presets)
    by_path = _by_folder(presets, places.runs)
    given = None
    if places.teacher_checkpoint is not None:
        given = load_checkpoint(weights_file(places.teacher_checkpoint))
    finished, unfinished = [], []
    sources: dict[tuple[str, str], Checkpoint] = {}
    with ExitStack() as stack:
        for path, preset in by_path.items():
            folder = RunFolder(path)
            stack.enter_context(folder.locked())
            is_finished = not fresh and folder.finished
            source = given if preset.teacher else None
            if preset.teacher and not is_finished:
                key = (preset.teacher, preset.data.name)
                if key not in sources:
                    found = given or find_teacher(preset, places.checkpoints, places.runs)
                    found.network(preset.teacher, num_classes(preset.data.name))
                    sources[key] = found
                source = sources[key]
            if not fresh:
                folder.check(preset, compute.precision, source)
                folder.state()
            if places.teacher_cache and preset.data.augmentation:
                raise RequestError("--teacher-cache: of padded crops; other augmentation has none")
            if places.teacher_cache and reads_features(preset):
                raise RequestError(f"--teacher-cache: holds logits; {preset.name} reads features")
            if is_finished:
                finished.append(folder)
            else:
                unfinished.append(preset)
        datasets: dict[str, Dataset] = {}
        for preset in unfinished:
            if str(preset.data) not in datasets:
                dataset = load_dataset(preset.data, places.data, progress)
                create_loader(dataset.train, preset.data)
                datasets[str(preset.data)] = dataset.to(compute.device)
        passes = []
        for group in group_passes(unfinished):
            runs = [(preset, RunFolder.of(places.runs, preset)) for preset in group]
            source = sources.get((group[0].teacher or "", group[0].data.name))
            dataset = datasets[str(group[0].data)]
            passes.append(Pass(runs, compute, source, dataset, places.teacher_cache))
        moved = [RunFolder(path).move_aside() for path in by_path] if fresh else []
        yield Job(passes, finished, [path for path in moved if path is not None])


def _by_folder(presets: Sequence[Preset], runs: Path) -> dict[Path, Preset]:
    """Presets by the folders of their runs; one that is named twice is one run."""
    by_path: dict[Path, Preset] = {}
    for preset in presets:
        path = RunFolder.of(runs, preset).path
        if by_path.setdefault(path, preset) != preset:
            raise RequestError(
                f"{path}: asked for twice with different settings; give one preset another name"
            )
    return by_path


def group_passes(presets: Sequence[Preset]) -> list[list[Preset]]:
    """Presets that may share a pass: same images, teacher and number of epochs."""

    def key(preset: Preset) -> tuple[str, ...]:
        shared = (preset.data, preset.teacher, preset.schedule.epochs)
        return tuple(str(value) for value in shared)

    return [list(group) for _, group in groupby(sorted(presets, key=key), key=key)]


def check_networks(presets: Sequence[Preset]) -> None:
    """See that every teacher and student is a network, and fits its preset.

    Raises:
        RequestError: some are not; one line each, with the nearest that is. Or one is not made for
            such images, or lacks what the method reads.
    """
    problems = {
        f"preset {preset.name}: {key}: unknown model {name!r}; nearest: {nearest_models(name)}"
        for preset in presets
        for key, name in (("teacher", preset.teacher), ("student", preset.student))
        if name is not None and name not in list_models()
    }
    if problems:
        raise RequestError("\n".join(sorted(problems)))
    with torch.device("meta"):
        for preset in presets:
            try:
                initial_student(preset)
                initial_distiller(preset)
            except RequestError as error:
                raise RequestError(f"preset {preset.name}: {error}") from None


def rehearse(preset: Preset, compute: Compute) -> dict[str, float]:
    """One training step on random images with an untrained teacher; writes nothing.

    Returns:
        The parts of the loss.

    Raises:
        RequestError: the preset names a network that does not exist.
        RunError: a loss is not finite.
    """
    check_networks([preset])
    arm = Arm(preset, compute)
    classes = num_classes(preset.data.name)
    generator = torch.Generator().manual_seed(preset.seed)
    images = torch.randint(0, 256, (4, 32, 32, 3), generator=generator, dtype=torch.uint8)
    # A whole batch, of four images.
    data = preset.data.model_copy(update={"batch_size": len(images)})
    loader = create_loader(ImageSet(images, torch.arange(4) % classes).to(compute.device), data)
    teacher = None
    if preset.teacher is not None:
        network = create_model(preset.teacher, classes)
        teacher = Teacher(network, compute, arm.distiller.needs_features)
    arm.begin_epoch()
    draw = loader.epoch(1, arm.distiller.views, 0)
    take_steps(loader, teacher, [arm], Eager(ahead=1), draw(0, 1))
    return arm.meters.read(epoch=1)


def _teacher_details(source: Checkpoint | None) -> dict[str, str | float | None]:
    if source is None:
        return {}
    top1 = source.metadata.get("top1")
    return {
        "teacher": str(source.path),
        "teacher_sha256": source.sha256,
        "teacher_top1": float(top1) if top1 else None,
    }


def _device_name(compute: Compute) -> str:
    if compute.device.type == "cuda":
        return torch.cuda.get_device_name(compute.device)
    return f"cpu ({torch.get_num_threads()} threads)"
