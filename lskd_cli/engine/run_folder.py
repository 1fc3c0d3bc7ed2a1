"""A run's folder on disk, loadable at every moment.

``resume.pt`` alone says how far a run is: everything else of an epoch is written before it, and
written again when an epoch is repeated after a kill: the weights with the same bytes.
"""

import io
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchvision
from filelock import FileLock, Timeout

from lskd_cli import __version__
from lskd_cli.checkpoints import Checkpoint, save_checkpoint
from lskd_cli.config import Preset, load_preset, to_yaml
from lskd_cli.data import num_classes
from lskd_cli.distillers import method_source
from lskd_cli.engine.arm import Arm
from lskd_cli.errors import RequestError
from lskd_cli.files import write_atomically, write_text
from lskd_cli.layout import BEST, METHOD, METRICS, PRESET, RESUME, RUN, STUDENT


class RunFolder:
    """``runs/NAME/seedN``: reads what is there, writes what an arm has reached."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, runs: Path, preset: Preset) -> "RunFolder":
        """The folder of a preset's run."""
        return cls(runs / preset.run_path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer; the lock ends with the process, however it ends.

        Raises:
            RequestError: another process writes to this folder, or it cannot be made.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        guard = FileLock(lock)
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            guard.acquire(timeout=0)
        except Timeout:
            raise RequestError(
                f"{self.path}: another process is writing this run; wait for it or stop it"
            ) from None
        except OSError as error:
            raise RequestError(f"{lock.parent}: cannot be written: {error.strerror}") from None
        try:
            yield
        finally:
            guard.release()

    def info(self) -> dict[str, Any]:
        """What run.json says; empty where there is no run.

        Raises:
            RequestError: the file is damaged.
        """
        path = self.path / RUN
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            raise RequestError(f"{path}: damaged; 'lskd train --fresh' starts the run over")
        return content

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last epoch."""
        return self.info().get("state") == "done"

    def check(self, preset: Preset, precision: str, teacher: Checkpoint | None) -> None:
        """See that the run in the folder, if any, is the one asked for.

        Args:
            preset: as asked for.
            precision: of this process; a finished run may have had another.
            teacher: that it would go on with; None if no teacher matters any more.

        Raises:
            RequestError: it has other settings; names each.
        """
        if not (self.path / PRESET).exists():
            return
        there, asked = _settings(load_preset(self.path / PRESET)), _settings(preset)
        differing = [
            f"{key} is {old!r} there, {new!r} here" for key, old, new in _differences(there, asked)
        ]
        info = self.info()
        kept = self.path / METHOD
        if kept.exists() and not self.finished and _read(kept) != method_source(preset):
            differing.append(f"the method's file is not {kept}, with which it was started")
        if teacher and info.get("teacher_sha256", teacher.sha256) != teacher.sha256:
            differing.append(f"its teacher is {info['teacher']} there, another file here")
        started_in = info.get("precision", precision)
        if started_in != precision and not self.finished:
            differing.append(f"precision is {started_in} there, {precision} here")
        if differing:
            raise RequestError(
                f"{self.path}: holds a run with other settings ({'; '.join(differing)}); "
                "--fresh starts over, --set name=NEW keeps both"
            )

    def check_images(self, digest: str | None) -> None:
        """See that the unfinished run in the folder, if any, was started on the same files.

        Raises:
            RequestError: it was started on others.
        """
        if digest is not None and self.info().get("images_sha256", digest) != digest:
            raise RequestError(
                f"{self.path}: was started on other images than there are now; --fresh starts over"
            )

    def move_aside(self) -> Path | None:
        """Rename an existing folder to the first free NAME.oldN; its new path, if there was one."""
        if not self.path.exists():
            return None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        self.path.rename(aside)
        return aside

    def state(self) -> dict[str, Any] | None:
        """The saved state of an unfinished run, if it has one.

        Raises:
            RequestError: it is damaged.
        """
        path = self.path / RESUME
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        # A damaged file can fail in any way; each is the same to the user.
        except Exception as error:
            raise RequestError(f"{path}: damaged; remove {self.path} to start over") from error
        return state

    def resume(self, arm: Arm) -> None:
        """Bring an arm to where this run was; a run without a saved state starts anew."""
        if arm.compute.team.leads:  # what others find may be being written
            for stale in self.path.glob(".*.tmp"):
                stale.unlink()
        state = self.state()
        if state is not None:
            arm.load_state_dict(state)

    def begin(self, preset: Preset, details: dict[str, Any]) -> None:
        """Write what the run is: its preset and the first run.json."""
        write_text(self.path / PRESET, to_yaml(preset))
        source = method_source(preset)
        if source is not None:
            write_text(self.path / METHOD, source)
        earlier = self.info()
        versions = {
            "lskd": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
        self._write_info(
            {
                "state": "running",
                "started": earlier.get("started", _now()),
                "seconds": earlier.get("seconds", 0.0),
                **details,
                "versions": versions,
                "best": earlier.get("best"),
                "last": earlier.get("last"),
            }
        )

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state of an arm, so that ``resume`` goes on from there."""
        content = io.BytesIO()  # on a full disk torch.save itself would not say that it is full
        torch.save(state, content)
        write_atomically(self.path / RESUME, lambda file: file.write_bytes(content.getbuffer()))

    def save_epoch(
        self,
        arm: Arm,
        state: Mapping[str, Any],
        is_best: bool,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Write what an epoch has brought: weights, metrics, state.

        Args:
            arm: whose epoch it was.
            state: of the arm.
            is_best: whether no epoch before was better.
            classes: their names, of images in folders.
        """
        record = arm.history[-1]
        weights = arm.student.state_dict()
        metadata = _metadata(arm.preset, record)
        if classes is not None:
            metadata["classes"] = json.dumps(classes)
        if is_best:
            save_checkpoint(self.path / BEST, weights, metadata)
        save_checkpoint(self.path / STUDENT, weights, metadata)
        lines = [json.dumps(epoch) + "\n" for epoch in arm.history]
        write_text(self.path / METRICS, "".join(lines))
        self.save_state(state)
        self.update(**_progress(arm))

    def update(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self._write_info({**self.info(), **changes})

    def finish(self, arm: Arm) -> None:
        """Mark the run as done; its state is no longer needed."""
        self.update(state="done", finished=_now(), **_progress(arm))
        (self.path / RESUME).unlink(missing_ok=True)

    def _write_info(self, info: dict[str, Any]) -> None:
        write_text(self.path / RUN, json.dumps(info, indent=2) + "\n")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"{path}: cannot be read; --fresh starts the run over") from None


def _progress(arm: Arm) -> dict[str, Any]:
    """What run.json tells of an arm."""
    seconds = sum(epoch["seconds"] for epoch in arm.history)
    return {"best": arm.best, "last": arm.history[-1], "seconds": seconds}


def _metadata(preset: Preset, record: dict[str, float]) -> dict[str, str]:
    return {
        "model": preset.student,
        "num_classes": str(num_classes(preset.data)),
        "dataset": preset.data.name,
        "preset": preset.run_name,
        "seed": str(preset.seed),
        "epoch": str(record["epoch"]),
        "top1": f"{record['test_top1']:.2f}",
    }


def _settings(preset: Preset) -> dict[str, Any]:
    """What of a preset has an effect on its run."""
    unused = {"published"} if preset.standardized else {"published", "stand"}
    return preset.model_dump(exclude=unused)


def _differences(
    there: dict[str, Any], asked: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in {**there, **asked}:
        old, new = there.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
