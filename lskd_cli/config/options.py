"""The options of a training, which the command line fills and the engine reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PrecisionName = Literal["auto", "fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class TrainingOptions:
    """Folders, device and other options of a training that are not part of a preset.

    Attributes:
        data_dir: folder of the data sets.
        checkpoints_dir: folder of the teachers.
        runs_dir: folder of the runs.
        teacher_checkpoint: weights of each teacher: files, run folders, or ``pretrained``.
        teacher_cache: cache the teacher's logits in the folder of the teachers.
        skip_bad_images: leave out images that cannot be decoded.
        checkpoint_minutes: minutes between two saved states within an epoch.
        device: auto, cpu, cuda or cuda:N.
        precision: auto selects bf16 where the hardware supports it natively.
        graphs: capture training steps as CUDA graphs; None means on CUDA with one process.
        compiled: compile the networks.
        process_timeout: minutes after which a process that does not answer ends the run; None for
            the default. Only valid under torchrun.
        fresh: archive previous runs and start from the first epoch.
        teacher_runs_dir: folder of the runs of teachers; None for ``runs_dir``.
    """

    data_dir: Path = Path("data")
    checkpoints_dir: Path = Path("checkpoints")
    runs_dir: Path = Path("runs")
    teacher_checkpoint: Sequence[Path] | None = None
    teacher_cache: bool = False
    skip_bad_images: bool = False
    checkpoint_minutes: float = 2.0
    device: str = "auto"
    precision: PrecisionName = "auto"
    graphs: bool | None = None
    compiled: bool = False
    process_timeout: float | None = None
    fresh: bool = False
    teacher_runs_dir: Path | None = None
