"""The folder of a run, which can be loaded at any moment.

``resume.pt`` alone determines how far a run is. All other files of an epoch are written before it,
and written again when the epoch is repeated after a kill; the weights then have the same bytes.
"""

import io
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import torchvision
from filelock import Timeout

from lskd_cli import __version__
from lskd_cli.checkpoints import (
    Checkpoint,
    check_torch_archive,
    first_non_finite,
    save_checkpoint,
)
from lskd_cli.config import Preset, load_preset, method_title, to_yaml
from lskd_cli.data import ImagesIdentity, num_classes
from lskd_cli.distillers import method_source
from lskd_cli.engine.training.student_trainer import STATE_VERSION, StudentTrainer
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import (
    regular_file,
    remove_temporary_files,
    write_atomically,
    write_text,
)
from lskd_cli.io.locks import file_lock
from lskd_cli.models import model_source
from lskd_cli.run_info import RunInfo, read_run_info, write_metrics, write_run_info
from lskd_cli.run_paths import BEST, EMA, METHOD, METRICS, MODEL, PRESET, RESUME, RUN, STUDENT

CORRUPT_STATE = (
    "corrupt or written by an incompatible version; --fresh restarts the run and keeps the old "
    "files"
)


class RunFolder:
    """``runs/NAME/seedN``: reads the state of a run and writes what its student has reached."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, runs_dir: Path, preset: Preset) -> "RunFolder":
        """The folder of a preset's run."""
        return cls(runs_dir / preset.run_path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for writing; the lock ends with the process, however it ends.

        Raises:
            RequestError: another process writes to this folder, or the lock cannot be created.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.path, wait=False))
            except Timeout:
                raise RequestError(
                    f"{self.path}: another process is writing this run; wait for it or stop it"
                ) from None
            except OSError as error:
                raise RequestError(
                    f"{self.path.parent}: cannot be written: {error.strerror}"
                ) from None
            yield

    def info(self) -> RunInfo | None:
        """The run.json of the folder; None if there is no run.

        Raises:
            RequestError: the file is corrupt.
        """
        return read_run_info(self.path)

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished its last epoch."""
        info = self.info()
        return info is not None and info.is_done

    def check(
        self,
        preset: Preset,
        precision: str,
        teacher: Checkpoint | None,
        initial: Checkpoint | None = None,
    ) -> None:
        """Check that the run in the folder, if any, is the requested one.

        Args:
            preset: the requested preset.
            precision: precision of this process; a finished run may have another one.
            teacher: the teacher that the run would resume with; None if it needs none any more.
            initial: weights from which the student started, likewise.

        Raises:
            RequestError: the run has other settings; the message names each.
        """
        info = self.info()
        if info is None:
            self._refuse_files_without(RUN, [STUDENT, BEST, METRICS, RESUME])
            return
        if not (self.path / PRESET).exists():
            self._refuse_files_without(PRESET, [RUN])
        saved = _training_settings(load_preset(self.path / PRESET))
        differences = [
            f"saved {key} {old!r}, requested {new!r}"
            for key, old, new in _differences(saved, _training_settings(preset))
        ]
        for name, source in _plugin_sources(preset).items():
            file = self.path / name
            if file.exists() and not info.is_done and _read(file) != source:
                differences.append(f"the {file.stem} file differs from {file}")
        if teacher and info.teacher_sha256 not in (None, teacher.sha256):
            differences.append(f"saved teacher {info.teacher}, requested {teacher.path}")
        if initial and info.init_sha256 not in (None, initial.sha256):
            differences.append(f"the weights of {initial.path} have changed")
        if info.precision not in (None, precision) and not info.is_done:
            differences.append(f"saved precision {info.precision}, requested {precision}")
        if differences:
            raise RequestError(
                f"{self.path}: contains a run with other settings ({'; '.join(differences)}); "
                "restart it with --fresh, or keep both runs with --set name=NEW"
            )
        if not info.is_done and info.last is not None and not (self.path / RESUME).exists():
            self._refuse_files_without(RESUME, [STUDENT, BEST, METRICS])

    def _refuse_files_without(self, missing: str, names: Sequence[str]) -> None:
        """Refuse to train over files of a run whose other files are lost."""
        found = [name for name in names if (self.path / name).exists()]
        if found:
            raise RequestError(
                f"{self.path}: contains {found[0]}, but no {missing}; restart the run with "
                "--fresh, which keeps these files under another name, or use --set name=NEW"
            )

    def check_images(self, digest: str | None) -> None:
        """Check that the unfinished run in the folder, if any, was started with the same files.

        Raises:
            RequestError: it was started with other files.
        """
        info = self.info()
        if info is not None and digest is not None and info.images_sha256 not in (None, digest):
            raise RequestError(
                f"{self.path}: was started with other images than those in --data-dir; restart it "
                "with --fresh"
            )

    def archive(self) -> Path | None:
        """Rename an existing folder to the first free NAME.oldN, and return its new path."""
        if not self.path.exists():
            return None
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        self.path.rename(target)
        return target

    def load_state(self) -> dict[str, Any] | None:
        """The saved state of an unfinished run, if there is one.

        Raises:
            RequestError: the file is corrupt or written by an incompatible version.
        """
        path = self.path / RESUME
        if not path.exists():
            return None
        try:
            check_torch_archive(regular_file(path))
            # Mapped into memory, so that the states of many runs need not fit at once.
            state: dict[str, Any] = torch.load(
                path, map_location="cpu", weights_only=True, mmap=True
            )
            is_readable = state["version"] == STATE_VERSION
            bad = first_non_finite({**state["student"], **state["distiller"]})
        # A corrupt file can raise any exception; all mean the same to the user.
        except Exception as error:
            raise RequestError(f"{path}: {CORRUPT_STATE}") from error
        if not is_readable or bad is not None:
            raise RequestError(f"{path}: {CORRUPT_STATE}")
        return state

    def remove_stale_files(self) -> None:
        """Remove temporary files that a killed process has left."""
        remove_temporary_files(self.path)

    def start(self, preset: Preset, details: Mapping[str, Any]) -> None:
        """Write the preset, the source of a plug-in method, and run.json."""
        write_text(self.path / PRESET, to_yaml(preset))
        for name, source in _plugin_sources(preset).items():
            if source is not None:
                write_text(self.path / name, source)
        previous = self.info()
        versions = {
            "lskd": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
        info = RunInfo(
            state="running",
            started=(previous.started if previous else None) or _now(),
            seconds=previous.seconds if previous else 0.0,
            method_title=method_title(preset.method),
            versions=versions,
            best=previous.best if previous else None,
            last=previous.last if previous else None,
            **details,
        )
        write_run_info(self.path, info)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state of a student, from which a later process resumes."""
        content = io.BytesIO()  # torch.save itself does not report a full disk
        torch.save(state, content)
        write_atomically(self.path / RESUME, lambda file: file.write_bytes(content.getbuffer()))

    def save_epoch(
        self,
        student: StudentTrainer,
        state: Mapping[str, Any],
        is_best: bool,
        images: ImagesIdentity,
    ) -> None:
        """Write the results of an epoch: weights, metrics and state.

        Args:
            student: the student that has finished the epoch.
            state: state of the student.
            is_best: whether this is the best epoch so far.
            images: what the weights store about their images.
        """
        details = {"classes": json.dumps(images.classes)} if images.classes else {}
        details |= {"archive_sha256": images.archive} if images.archive else {}
        for prefix, network in student.networks().items():
            weights = network.state_dict()
            metadata = details | _weights_metadata(student, prefix)
            if prefix:
                save_checkpoint(self.path / EMA, weights, metadata)
                continue
            if is_best:
                save_checkpoint(self.path / BEST, weights, metadata)
            save_checkpoint(self.path / STUDENT, weights, metadata)
        write_metrics(self.path, student.history)
        self.save_state(state)
        self.update(**_progress(student))

    def update(self, **changes: Any) -> None:
        """Change entries of run.json."""
        info = self.info()
        if info is not None:
            write_run_info(self.path, info.model_copy(update=changes))

    def finish(self, student: StudentTrainer) -> None:
        """Mark the run as done, and remove its state, which is no longer needed."""
        self.update(state="done", finished=_now(), **_progress(student))
        (self.path / RESUME).unlink(missing_ok=True)


def _plugin_sources(preset: Preset) -> dict[str, str | None]:
    """Sources of the method and the student, if user-provided files define them, by file name."""
    return {METHOD: method_source(preset), MODEL: model_source(preset.student)}


def _read(path: Path) -> str:
    try:
        return regular_file(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"{path}: cannot be read; restart the run with --fresh") from None


def _progress(student: StudentTrainer) -> dict[str, Any]:
    """Entries of run.json that depend on the progress of a student."""
    seconds = sum(epoch["seconds"] for epoch in student.history)
    return {"best": student.best, "last": student.history[-1], "seconds": seconds}


def _weights_metadata(student: StudentTrainer, prefix: str) -> dict[str, str]:
    """Metadata of the weights of a student, or of their average with the prefix of its metrics."""
    preset, metrics = student.preset, student.history[-1]
    initial = student.initial.checkpoint.metadata if student.initial is not None else {}
    return {
        **{key: initial[key] for key in ("license",) if key in initial},
        "preprocessing": student.preprocessing.to_json(),
        "model": preset.student,
        "num_classes": str(num_classes(preset.data)),
        "dataset": preset.data.name,
        "preset": preset.run_name,
        "seed": str(preset.seed),
        "epoch": str(metrics["epoch"]),
        "top1": f"{metrics[f'{prefix}test_top1']:.2f}",
    }


def _training_settings(preset: Preset) -> dict[str, Any]:
    """The settings of a preset that have an effect on the training."""
    unused = {"published"} if preset.standardized else {"published", "stand"}
    return preset.model_dump(exclude=unused)


def _differences(
    saved: dict[str, Any], requested: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in {**saved, **requested}:
        old, new = saved.get(key), requested.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
