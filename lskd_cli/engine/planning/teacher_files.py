"""Finding the weights of a teacher, and checking that they fit a preset."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from lskd_cli.checkpoints import Checkpoint, check_classes, load_checkpoint, load_weights
from lskd_cli.config import Preset, find_dataset, list_networks, load_preset
from lskd_cli.data import ImagesIdentity
from lskd_cli.engine.inference.trained_network import TrainedNetwork, trained_teacher
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.errors import RequestError
from lskd_cli.run_paths import PRESET, STUDENT, list_runs
from lskd_cli.wording import counted

TEACHER_RUNS = ("teacher-", "finetune-")  # prefixes of the presets that train teachers


class TeacherMissingError(RequestError):
    """The weights of a teacher are in none of the places where they are looked for."""


def missing_teachers(
    presets: Iterable[Preset], checkpoints_dir: Path, runs_dir: Path
) -> list[Preset]:
    """The presets that train the missing teachers of presets of embedded data sets."""
    missing: dict[str, None] = {}
    for preset in presets:
        if preset.teacher is None or not find_dataset(preset.data.name).is_embedded:
            continue
        for one in map(preset.with_teacher, preset.teacher_names):
            try:
                find_teacher(one, checkpoints_dir, runs_dir)
            except TeacherMissingError:
                missing |= dict.fromkeys(trainer.name for trainer in _teacher_presets(one)[:1])
            except RequestError:
                continue  # the preparation of the run reports it
    # With their methods, which are not imported for presets that are only searched.
    return [load_preset(name) for name in missing]


def find_teacher(preset: Preset, checkpoints_dir: Path, runs_dir: Path) -> Checkpoint:
    """Find the weights of a preset's teacher.

    They are ``checkpoints/NAME.safetensors`` or ``checkpoints/DATA-NAME.safetensors``, or the last
    epoch of a finished run of a teacher's preset (not its best epoch, which was selected on test
    images). A run that was shortened, with ``--epochs`` or ``--limit-train``, is not used.

    Raises:
        RequestError: there are none; the message says how to fetch, train or select them.
    """
    assert preset.teacher is not None
    data, classes = preset.data.name, preset.data.class_count
    name, prefix = preset.teacher.replace("/", "-"), data.replace("/", "-")
    for file in (f"{name}.safetensors", f"{prefix}-{name}.safetensors"):
        if (checkpoints_dir / file).exists():
            checkpoint = load_checkpoint(checkpoints_dir / file)
            if checkpoint.metadata.get("dataset", data) == data:
                return checkpoint
    shortened = []
    for folder in [path for kind in TEACHER_RUNS for path in list_runs(runs_dir, f"{kind}*")]:
        # A corrupt run may be another teacher's; if it is this one's, none is found below.
        with suppress(RequestError):
            if RunFolder(folder).is_finished:
                checkpoint = load_checkpoint(folder / STUDENT)
                expected = {"model": preset.teacher, "dataset": data, "num_classes": str(classes)}
                if expected.items() <= checkpoint.metadata.items():
                    difference = _shortened(folder, preset)
                    if difference is None:
                        return checkpoint
                    top1 = checkpoint.metadata.get("top1", "?")
                    shortened.append(
                        f"{folder} ({top1} % top-1) was trained {difference}; use it with "
                        f"--teacher-checkpoint {folder}"
                    )
    if shortened:
        raise RequestError(f"teacher {preset.teacher} ({classes} classes): {shortened[0]}")
    raise TeacherMissingError(
        f"teacher {preset.teacher} ({classes} classes) is neither in {checkpoints_dir} nor a "
        f"finished teacher-* or finetune-* run in {runs_dir}; {_remedies(preset)}"
    )


def _shortened(folder: Path, preset: Preset) -> str | None:
    """How the training of a preset's teacher was shortened; None if it was not."""
    trained = load_preset(folder / PRESET, allow_unknown_method=True)
    if trained.data.limit_train is not None:
        return f"on {trained.data.limit_train} images only"
    epochs = trained.schedule.epochs
    complete = min((one.schedule.epochs for one in _teacher_presets(preset)), default=epochs)
    if epochs < complete:
        return f"for {counted(epochs, 'epoch')} instead of {complete}"
    return None


def _remedies(preset: Preset) -> str:
    trainers = _teacher_presets(preset)
    options = f" --dataset {preset.data.name}" if preset.data.is_custom else ""
    remedies = [f"'lskd train --preset {trainer.name}{options}'" for trainer in trainers]
    if not preset.data.is_custom and any(trainer.published.top1 for trainer in trainers):
        remedies.insert(0, f"'lskd fetch-teachers {preset.teacher}'")
    return " or ".join([*remedies, "--teacher-checkpoint FILE"])


def _teacher_presets(preset: Preset) -> list[Preset]:
    """The built-in presets that train the teacher of a preset."""
    names = [name for name in list_networks() if name.startswith(TEACHER_RUNS)]
    trainers = [load_preset(name, allow_unknown_method=True) for name in names]
    return [trainer for trainer in trainers if _trains_teacher_of(trainer, preset)]


def _trains_teacher_of(trainer: Preset, preset: Preset) -> bool:
    if preset.data.is_custom or preset.data.on_disk:
        return trainer.data.on_disk and trainer.student == preset.teacher
    return trainer.data.name == preset.data.name and trainer.student == preset.teacher


def check_images_of(weights: Checkpoint, images: ImagesIdentity) -> None:
    """Check that weights were trained on custom images, as far as they store it.

    Raises:
        RequestError: they were trained on other classes, or on another archive.
    """
    check_classes(weights, images.classes)
    archive = weights.metadata.get("archive_sha256")
    if archive is not None and images.archive not in (None, archive):
        raise RequestError(
            f"{weights.path}: trained on another archive than that in --data-dir; a teacher of "
            "other images needs --teacher-checkpoint"
        )


def load_teachers(preset: Preset, files: Sequence[Path]) -> list[TrainedNetwork]:
    """The teachers of a preset with the weights of given files.

    Raises:
        RequestError: there is not one file for each teacher, or a file does not fit its teacher.
    """
    names = preset.teacher_names
    if len(files) != len(names):
        raise RequestError(
            f"--teacher-checkpoint: {len(files)} given for {len(names)} "
            f"teacher{'s' * (len(names) != 1)} ({', '.join(names)}); give one for each, in order"
        )
    return [
        load_teacher(load_weights(file, name), preset.with_teacher(name))
        for name, file in zip(names, files, strict=True)
    ]


def load_teacher(checkpoint: Checkpoint, preset: Preset) -> TrainedNetwork:
    """The teacher of a preset with its weights.

    Raises:
        RequestError: the weights belong to another network or number of classes.
    """
    teacher = trained_teacher(checkpoint, preset)
    expected = preset.data.class_count
    if teacher.num_classes != expected:
        raise RequestError(
            f"{checkpoint.path}: has {teacher.num_classes} classes, but {preset.data.name} has "
            f"{expected}; fine-tune it with 'lskd train --preset finetune-own --student "
            f"{preset.teacher} --init {checkpoint.path}'"
        )
    teacher.network  # noqa: B018 (loads it)
    return teacher
