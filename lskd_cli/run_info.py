"""The content of ``run.json``: what a run is, how it was started, and how far it is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    TypeAdapter,
    ValidationError,
)

from lskd_cli.config.types import Text
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file, write_text
from lskd_cli.io.printable import printable
from lskd_cli.run_paths import METRICS, RUN

_LARGEST = 1e100  # of a metric, so that squares and sums are finite
_Metric = Annotated[int | FiniteFloat, Field(ge=-_LARGEST, le=_LARGEST)]
Metrics = dict[str, _Metric]  # metrics of an epoch


def _storable(path: str) -> str:
    """A path as it is, unless JSON cannot contain its bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return printable(path)
    return path


PathText = Annotated[str, AfterValidator(_storable)]  # later commands open it

_METRICS = TypeAdapter(Metrics)
_REQUIRED_METRICS = ("epoch", "train_loss", "test_top1")


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
        joint_runs: paths of the runs that were trained together.
        method_title: label of the method in tables.
        added_parameters: parameters of the method besides the student's.
        data_dir: folder of the images, as it was given.
        images_sha256: digest of the file names of an image folder.
        teacher: path of the teacher's weights; of several teachers, their paths with " + " between.
        teacher_sha256: digest of this file, or of the digests of several.
        teacher_top1: accuracy in the metadata of this file, percent.
        teacher_cache: whether logits of the teacher were cached.
        init: file of the weights from which the student started, or ``pretrained``.
        init_sha256: digest of these weights.
        versions: versions of lskd and of its main dependencies.
        best: metrics of the best epoch.
        last: metrics of the last epoch.
        error: why the run failed.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    state: Literal["running", "interrupted", "failed", "done"]
    started: Text | None = None
    finished: Text | None = None
    seconds: NonNegativeFloat = 0.0
    command: Text = "unknown"
    device: Text = "unknown device"
    precision: Text | None = None
    graphs: bool = False
    compiled: bool = False
    processes: int = 1
    # The entry had the other name at first.
    joint_runs: list[Text] = Field(
        default=[], validation_alias=AliasChoices("joint_runs", "arms_in_pass")
    )
    method_title: Text | None = None
    added_parameters: int = 0
    data_dir: PathText | None = None
    images_sha256: Text | None = None
    teacher: PathText | None = None
    teacher_sha256: Text | None = None
    teacher_top1: float | None = None
    teacher_cache: bool | None = None
    init: PathText | None = None
    init_sha256: Text | None = None
    versions: dict[Text, Text] = {}
    best: Metrics | None = None
    last: Metrics | None = None
    error: Text | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished its last epoch."""
        return self.state == "done"


def read_run_info(folder: Path) -> RunInfo | None:
    """The ``run.json`` of a run folder; None if there is none.

    Raises:
        RequestError: the file cannot be read or is corrupt.
    """
    path = folder / RUN
    if not path.exists():
        return None
    try:
        return RunInfo.model_validate_json(regular_file(path).read_bytes())
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise RequestError(
            f"{path}: corrupt ({_problem(error)}); 'lskd train --fresh' restarts the run"
        ) from None


def write_run_info(folder: Path, info: RunInfo) -> None:
    """Replace the ``run.json`` of a run folder.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(folder / RUN, info.model_dump_json(indent=2, exclude_none=True) + "\n")


def read_metrics(folder: Path, warn: Callable[[str], None]) -> list[Metrics]:
    """The ``metrics.jsonl`` of a run folder: the metrics of all epochs; empty if there is none.

    Args:
        folder: the run folder.
        warn: called if the last line is truncated, which is then ignored.

    Raises:
        RequestError: the file cannot be read, or a line has other values than those of its epoch.
    """
    path = folder / METRICS
    try:
        lines = regular_file(path).read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    history: list[Metrics] = []
    required = set(_REQUIRED_METRICS)
    for number, line in enumerate(lines, start=1):
        try:
            metrics = _METRICS.validate_json(line)
        except ValidationError as error:
            if number == len(lines) and error.errors()[0]["type"] == "json_invalid":
                warn(f"{path}: truncated last line ignored")
                break
            raise RequestError(f"{path}: corrupt: line {number}: {_problem(error)}") from None
        if "val_top1" in metrics and number == 1:
            required.add("val_top1")
        missing = sorted(required - metrics.keys())
        if missing:
            raise RequestError(f"{path}: corrupt: line {number} has no {missing[0]}")
        if metrics["epoch"] != number:
            epoch = metrics["epoch"]
            raise RequestError(f"{path}: corrupt: line {number} belongs to epoch {epoch}")
        history.append(metrics)
    return history


def write_metrics(folder: Path, history: Sequence[Metrics]) -> None:
    """Replace the ``metrics.jsonl`` of a run folder.

    Raises:
        RunError: the file cannot be written.
        ValueError: a value is not finite.
    """
    lines = [json.dumps(epoch, allow_nan=False) + "\n" for epoch in history]
    write_text(folder / METRICS, "".join(lines))


def _problem(error: ValidationError) -> str:
    detail = error.errors(include_url=False)[0]
    key = ".".join(map(str, detail["loc"]))
    return printable(f"{key}: {detail['msg']}" if key else detail["msg"])
