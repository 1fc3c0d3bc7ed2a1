"""The content of ``run.json``: what a run is, how it was started, and how far it is."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lskd_cli.atomic_io import write_text
from lskd_cli.errors import RequestError
from lskd_cli.run_paths import RUN

Metrics = dict[str, float]


class RunInfo(BaseModel):
    """Description and state of a run.

    Attributes:
        state: done when the last epoch is finished.
        started: local time of the first start.
        finished: local time of the end.
        seconds: training time, of all students of the joint run together.
        command: command line of the last start.
        device: device, or number of processes and device.
        precision: fp32, tf32 or bf16.
        graphs: whether steps were captured as CUDA graphs.
        compiled: whether the networks were compiled.
        processes: number of processes.
        arms_in_pass: paths of the runs that were trained together.
        method_title: label of the method in tables.
        added_parameters: parameters of the method besides the student's.
        images_sha256: digest of the file names of an image folder.
        teacher: path of the teacher's weights.
        teacher_sha256: digest of this file.
        teacher_top1: accuracy in the metadata of this file, percent.
        teacher_cache: whether logits of the teacher were cached.
        versions: versions of lskd and of its main dependencies.
        best: metrics of the best epoch.
        last: metrics of the last epoch.
        error: why the run failed.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    state: Literal["running", "interrupted", "failed", "done"]
    started: str | None = None
    finished: str | None = None
    seconds: float = 0.0
    command: str = "unknown"
    device: str = "unknown device"
    precision: str | None = None
    graphs: bool = False
    compiled: bool = False
    processes: int = 1
    arms_in_pass: list[str] = []
    method_title: str | None = None
    added_parameters: int = 0
    images_sha256: str | None = None
    teacher: str | None = None
    teacher_sha256: str | None = None
    teacher_top1: float | None = None
    teacher_cache: bool | None = None
    versions: dict[str, str] = {}
    best: Metrics | None = None
    last: Metrics | None = None
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the run has finished its last epoch."""
        return self.state == "done"


def read_run_info(folder: Path) -> RunInfo | None:
    """The ``run.json`` of a run folder; None if there is none.

    Raises:
        RequestError: the file cannot be read or is damaged.
    """
    path = folder / RUN
    if not path.exists():
        return None
    try:
        return RunInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"]))
        problem = f"{key}: {detail['msg']}" if key else detail["msg"]
        raise RequestError(
            f"{path}: damaged ({problem}); 'lskd train --fresh' restarts the run"
        ) from None


def write_run_info(folder: Path, info: RunInfo) -> None:
    """Replace the ``run.json`` of a run folder.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(folder / RUN, info.model_dump_json(indent=2, exclude_none=True) + "\n")
