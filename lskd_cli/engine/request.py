"""A whole request: every run of it checked before anything is written."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lskd_cli.checkpoints import Checkpoint, load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import (
    Dataset,
    FolderSet,
    class_names,
    create_loader,
    image_folder,
    load_dataset,
)
from lskd_cli.distillers import reads_features
from lskd_cli.download import Progress
from lskd_cli.engine.device import Compute
from lskd_cli.engine.loop import SAVE_EVERY
from lskd_cli.engine.rehearsal import check_networks
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.teacher import check_classes, find_teacher, teacher_network
from lskd_cli.engine.team import Team
from lskd_cli.engine.training import Pass, images_digest
from lskd_cli.errors import RequestError
from lskd_cli.launch import local_rank
from lskd_cli.layout import STUDENT, weights_file


@dataclass
class Places:
    """Folders of a command, the teacher's file where one is given, a folder to keep its logits.

    Attributes:
        skip_bad_images: leave files out that cannot be decoded.
        save_every: seconds between two saved states within an epoch.
        logs: names of what is written beside metrics.jsonl.
    """

    data: Path
    checkpoints: Path
    runs: Path
    teacher_checkpoint: Path | None = None
    teacher_cache: Path | None = None
    skip_bad_images: bool = False
    save_every: float = SAVE_EVERY
    logs: Sequence[str] = ()


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

    Only then are earlier runs moved aside, with ``fresh``, and is anything but locks written. Of
    several processes the first one does all this, then the others read what there is.

    Raises:
        RequestError: networks, settings, teacher, data or folders do not fit the request.
        RunError: a download failed.
    """
    team = compute.team
    with ExitStack() as stack:
        job = team.led(lambda: _prepare(stack, presets, places, compute, progress, fresh))
        # Then the first one of every other machine, so that files are checked once on each.
        if job is None and local_rank() == 0:
            job = _prepare(stack, presets, places, compute, progress, fresh=False)
        team.agreed(True)
        if job is None:
            job = _prepare(stack, presets, places, compute, progress, fresh=False)
        _check_alike(job, team)
        yield job


def _check_alike(job: Job, team: Team) -> None:
    """See that all processes are about to train the same runs with the same teachers."""
    runs = [
        (preset.run_path, one.source and one.source.sha256)
        for one in job.passes
        for preset, _ in one.runs
    ]
    digest = hashlib.sha256(repr(runs).encode()).digest()
    if not team.is_alike(torch.tensor(list(digest), dtype=torch.uint8)):
        raise RequestError(
            "the processes do not find the same runs or teachers; --runs-dir and "
            "--checkpoints-dir have to be folders that all machines share"
        )


def _prepare(
    stack: ExitStack,
    presets: Sequence[Preset],
    places: Places,
    compute: Compute,
    progress: Progress,
    fresh: bool,
) -> Job:
    check_networks(presets)
    by_path = by_folder(presets, places.runs)
    given = None
    if places.teacher_checkpoint is not None:
        given = load_checkpoint(weights_file(places.teacher_checkpoint))
    finished, unfinished = [], []
    sources: dict[tuple[str, str], Checkpoint] = {}
    for path, preset in by_path.items():
        folder = RunFolder(path)
        if compute.team.leads:
            stack.enter_context(folder.locked())
        is_finished = not fresh and folder.finished
        source = given if preset.teacher else None
        if preset.teacher and not is_finished:
            key = (preset.teacher, preset.data.name)
            if key not in sources:
                sources[key] = given or find_teacher(preset, places.checkpoints, places.runs)
                teacher_network(sources[key], preset)
            source = sources[key]
        if not fresh:
            folder.check(preset, compute.precision, source)
            folder.state()
        if places.teacher_cache and preset.data.augmentation:
            raise RequestError("--teacher-cache: of padded crops; other augmentation has none")
        if places.teacher_cache and reads_features(preset):
            raise RequestError(f"--teacher-cache: holds logits; {preset.name} reads features")
        if is_finished:
            if preset.data.on_disk:
                _check_finished(folder, preset, places.data)
            finished.append(folder)
        else:
            unfinished.append(preset)
    datasets: dict[str, Dataset] = {}
    for preset in unfinished:
        if str(preset.data) not in datasets:
            dataset = load_dataset(preset.data, places.data, progress, places.skip_bad_images)
            create_loader(dataset.train, preset.data, compute.team.share)
            datasets[str(preset.data)] = dataset.to(compute.device)
        if not fresh:
            digest = images_digest(datasets[str(preset.data)])
            RunFolder.of(places.runs, preset).check_images(digest)
    passes = []
    for group in group_passes(unfinished):
        runs = [(preset, RunFolder.of(places.runs, preset)) for preset in group]
        source = sources.get((group[0].teacher or "", group[0].data.name))
        dataset = datasets[str(group[0].data)]
        if source is not None and isinstance(dataset.train, FolderSet):
            check_classes(source, dataset.train.classes)
        passes.append(Pass(runs, compute, source, dataset, places.teacher_cache, places.save_every))
    moved = [RunFolder(path).move_aside() for path in by_path] if fresh else []
    return Job(passes, finished, [path for path in moved if path is not None])


def _check_finished(folder: RunFolder, preset: Preset, data_dir: Path) -> None:
    """See that a finished run is of the images that there are, if there are any."""
    weights = folder.path / STUDENT
    train = image_folder(preset.data, data_dir) / "train"
    if weights.exists() and train.is_dir():
        try:
            check_classes(load_checkpoint(weights), class_names(train))
        except RequestError as error:
            raise RequestError(f"{error}; --set name=NEW keeps both runs") from None


def by_folder(presets: Sequence[Preset], runs: Path) -> dict[Path, Preset]:
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
    """Presets that may share a pass: same images and number of epochs, and at most one teacher.

    In each group, those that learn from the teacher come first.
    """
    groups: list[list[Preset]] = []
    for preset in sorted(presets, key=lambda preset: preset.teacher is None):
        for group in groups:
            first = group[0]
            is_alike = (first.data, first.schedule.epochs) == (preset.data, preset.schedule.epochs)
            if is_alike and preset.teacher in (first.teacher, None):
                group.append(preset)
                break
        else:
            groups.append([preset])
    return groups
