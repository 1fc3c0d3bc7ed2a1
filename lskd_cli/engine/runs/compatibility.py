"""Whether the run in a folder is the requested one, so that it can be resumed or left as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import Preset, load_preset
from lskd_cli.config.differences import find_differences
from lskd_cli.engine.runs.run_folder import RunFolder, plugin_sources
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file
from lskd_cli.run_paths import BEST, METRICS, PRESET, RESUME, RUN, STUDENT

# Options that set keys of a preset.
_OPTIONS = {
    "data.limit_train": "--limit-train",
    "data.val_split": "--val-split",
    "init": "--init",
}


def check_resumable(
    folder: RunFolder,
    preset: Preset,
    precision: str,
    teacher: Checkpoint | None,
    initial: Checkpoint | None = None,
) -> None:
    """Check that the run in a folder, if any, is the requested one.

    Args:
        folder: folder of the run.
        preset: the requested preset.
        precision: precision of this process; a finished run may have another one.
        teacher: the teacher that the run would resume with; None if it needs none any more.
        initial: weights from which the student started, likewise.

    Raises:
        RequestError: the run has other settings; the message names each.
    """
    info = folder.info()
    if info is None:
        _refuse_files_without(folder.path, RUN, [STUDENT, BEST, METRICS, RESUME])
        return
    if not (folder.path / PRESET).exists():
        _refuse_files_without(folder.path, PRESET, [RUN])
    saved = _training_settings(load_preset(folder.path / PRESET))
    differences = [
        f"saved {_OPTIONS.get(key, key)} {_describe(old)}, requested {_describe(new)}"
        for key, old, new in find_differences(saved, _training_settings(preset))
    ]
    for name, source in plugin_sources(preset).items():
        file = folder.path / name
        if file.exists() and not info.is_finished and _read(file) != source:
            differences.append(f"the {file.stem} file differs from {file}")
    if teacher and info.teacher_sha256 not in (None, teacher.sha256):
        differences.append(f"saved teacher {info.teacher}, requested {teacher.path}")
    if initial and info.init_sha256 not in (None, initial.sha256):
        differences.append(f"the weights of {initial.path} have changed")
    if info.precision not in (None, precision) and not info.is_finished:
        differences.append(f"saved precision {info.precision}, requested {precision}")
    if differences:
        raise RequestError(
            f"{folder.path}: contains a run with other settings ({'; '.join(differences)}); "
            "restart it with --fresh, or keep both runs with --set name=NEW"
        )
    if not info.is_finished and info.last is not None and not (folder.path / RESUME).exists():
        _refuse_files_without(folder.path, RESUME, [STUDENT, BEST, METRICS])


def check_same_images(folder: RunFolder, digest: str | None) -> None:
    """Check that the unfinished run in a folder, if any, was started with the same files.

    Raises:
        RequestError: it was started with other files.
    """
    info = folder.info()
    if info is not None and digest is not None and info.images_sha256 not in (None, digest):
        raise RequestError(
            f"{folder.path}: was started with other images than those in --data-dir; restart it "
            "with --fresh"
        )


def _refuse_files_without(folder: Path, missing: str, names: Sequence[str]) -> None:
    """Refuse to train over files of a run whose other files are lost."""
    found = [name for name in names if (folder / name).exists()]
    if found:
        raise RequestError(
            f"{folder}: contains {found[0]}, but no {missing}; restart the run with "
            "--fresh, which keeps these files under another name, or use --set name=NEW"
        )


def _read(path: Path) -> str:
    try:
        return regular_file(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"{path}: cannot be read; restart the run with --fresh") from None


def _describe(value: Any) -> str:
    return "not set" if value is None else repr(value)


def _training_settings(preset: Preset) -> dict[str, Any]:
    """The settings of a preset that have an effect on the training."""
    unused = {"published"} if preset.standardized else {"published", "stand"}
    return preset.model_dump(exclude=unused)
