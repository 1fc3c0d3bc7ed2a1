"""Runs that are trained together, from their folders to their end."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import Dataset, FolderSet
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.device import Compute
from lskd_cli.engine.loop import SAVE_EVERY, Listener, run_pass
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.engine.teacher import Teacher, teacher_network
from lskd_cli.engine.teacher_cache import TeacherCache, cache_path
from lskd_cli.errors import Interrupted, RequestError, RunError
from lskd_cli.models import Network


@dataclass
class Pass:
    """Runs that are trained together: same images and number of epochs, and at most one teacher.

    Attributes:
        runs: unfinished ones, each with its folder; those that learn from the teacher first.
        source: the teacher's file; None where no method needs a teacher.
        dataset: on the device.
        cache: folder that keeps the teacher's logits; None computes them anew.
        save_every: seconds between two saved states within an epoch.
    """

    runs: list[tuple[Preset, RunFolder]]
    compute: Compute
    source: Checkpoint | None
    dataset: Dataset
    cache: Path | None = None
    save_every: float = SAVE_EVERY

    @cached_property
    def network(self) -> Network | None:
        """The teacher's, on the CPU until it is trained with."""
        return teacher_network(self.source, self.runs[0][0]) if self.source else None

    def arms(self) -> list[tuple[Arm, RunFolder]]:
        """The students, each where its run was left.

        Raises:
            RequestError: a saved state is damaged.
        """
        arms = []
        for preset, folder in self.runs:
            arm = Arm(preset, self.compute, self.network, self.dataset.train.targets)
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
            RequestError: the processes of a team do not see the same files.
            Interrupted: ``stopping`` said so; every state is saved.
            RunError: a loss was not finite, memory or disk were full, or another process ended;
                the last state is kept.
        """
        team = self.compute.team
        details: dict[str, Any] = {
            "command": command,
            "device": _device_name(self.compute),
            "precision": self.compute.precision,
            "graphs": self.compute.graphs,
            "compiled": self.compute.compiled,
            "processes": team.size,
            "images_sha256": images_digest(self.dataset),
            "arms_in_pass": [arm.preset.run_path for arm, _ in arms],
        }
        self._check_alike(arms)
        try:
            for arm, folder in arms:
                of_teacher = self._teacher_details() if arm.preset.teacher else {}
                own = {"added_parameters": arm.added_parameters}
                team.led(partial(folder.begin, arm.preset, details | of_teacher | own))
            with self.compute.arithmetic():
                teacher = self._teacher(arms)
                cache = self._cache(arms, teacher)
                run_pass(arms, teacher, cache, self.dataset, listener, stopping, self.save_every)
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
            if team.size > 1 and isinstance(error, RuntimeError):
                reason = str(error).strip().splitlines()[0]
                raise RunError(
                    f"this process or another of the run failed: {reason}; what was saved before "
                    "is kept, the same command goes on"
                ) from error
            raise
        for arm, folder in arms:
            team.led(partial(folder.finish, arm))

    def _check_alike(self, arms: Sequence[tuple[Arm, RunFolder]]) -> None:
        """See that all processes go on from the same states, with the same images."""
        team = self.compute.team
        if not team.is_alike(torch.tensor([arm.position for arm, _ in arms])):
            raise RequestError(
                f"{self.runs[0][1].path}: the processes do not read the same states; --runs-dir "
                "has to be a folder that all machines share"
            )
        digest = bytes.fromhex(images_digest(self.dataset) or "")
        if not team.is_alike(torch.tensor(list(digest), dtype=torch.uint8)):
            raise RequestError("--data-dir: the processes do not find the same files in it")

    def _teacher(self, arms: Sequence[tuple[Arm, RunFolder]]) -> Teacher | None:
        if self.network is None:
            return None
        reads = {field for arm, _ in arms for field in arm.distiller.reads}
        return Teacher(self.network, self.compute, reads)

    def _cache(
        self, arms: Sequence[tuple[Arm, RunFolder]], teacher: Teacher | None
    ) -> TeacherCache | None:
        if self.cache is None or self.source is None or teacher is None:
            return None
        preset = arms[0][0].preset
        path = cache_path(self.cache, self.source, preset, self.compute)
        return TeacherCache(path, teacher, preset, len(self.dataset.train))

    def _teacher_details(self) -> dict[str, Any]:
        if self.source is None:
            return {}
        top1 = self.source.metadata.get("top1")
        return {
            "teacher": str(self.source.path),
            "teacher_sha256": self.source.sha256,
            "teacher_top1": float(top1) if top1 else None,
            "teacher_cache": self.cache is not None,
        }

    def _mark(self, state: str, **details: str) -> None:
        for _, folder in self.runs if self.compute.team.leads else ():
            # Where the disk is full this cannot be written either; the first error is the one.
            with suppress(RunError):
                folder.update(state=state, **details)


def images_digest(dataset: Dataset) -> str | None:
    """Of images in files, where it matters that they are the same ones later."""
    return dataset.train.digest if isinstance(dataset.train, FolderSet) else None


def _device_name(compute: Compute) -> str:
    if compute.device.type == "cuda":
        name = torch.cuda.get_device_name(compute.device)
    else:
        name = f"cpu ({torch.get_num_threads()} threads)"
    return name if compute.team.size == 1 else f"{compute.team.size} x {name}"
