"""Outputs of the networks of a group of runs, for the figures of a report."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lskd_cli.checkpoints import load_weights
from lskd_cli.cli.terminal.console import info
from lskd_cli.cli.terminal.progress import ProgressBar
from lskd_cli.config import is_feature_method
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.network_evaluation import OutputSource, compute_outputs
from lskd_cli.engine.inference.trained_network import load_trained_network, trained_teacher
from lskd_cli.errors import RequestError, RunError
from lskd_cli.network_outputs import OutputSet, Role
from lskd_cli.results.grouping import RunGroup, method_label
from lskd_cli.results.runs import Run

_DEFAULT_TEMPERATURE = 4.0  # if no method of the group has a temperature


def group_outputs(
    group: RunGroup, data_dir: Path, runtime: Runtime, sample: int
) -> OutputSet | None:
    """Outputs of the teacher and of one finished student for each method of a group.

    Returns:
        None if there is no teacher, or if weights or images are missing; a message says why.
    """
    finished = [run for run in group.runs if run.is_finished]
    distilled = [run for run in finished if run.preset.teacher]
    if not distilled:
        return None
    try:
        teacher = _teacher(distilled[0])
        students = _students(finished, data_dir)
        if not students:
            return None
        info(f"computing logits of {len(students) + 1} networks")
        with ProgressBar.for_data(teacher.network.data) as bar:
            return compute_outputs(
                [teacher, *students], data_dir, runtime, bar, _temperature(distilled), sample
            )
    except (RequestError, RunError) as error:
        info(f"figures of logits are left out: {error}")
    except torch.OutOfMemoryError:
        info(f"figures of logits are left out: {runtime.device} is out of memory; use --device cpu")
    return None


def _teacher(run: Run) -> OutputSource:
    """The teacher of a run.

    Raises:
        RequestError: its file does not exist any more, or has changed.
    """
    model = run.preset.teacher
    assert model is not None
    if len(run.preset.teacher_names) > 1:
        raise RequestError(f"{run.path}: has several teachers")
    path, digest = run.info.teacher, run.info.teacher_sha256
    if path is None or digest is None:
        raise RequestError(f"{run.path}: run.json does not name the file of the teacher")
    checkpoint = load_weights(Path(path), model)
    if checkpoint.sha256 != digest:
        raise RequestError(f"{path}: not the file that {run.path} was trained with")
    return OutputSource(model, path, "teacher", trained_teacher(checkpoint, run.preset))


def _students(finished: Sequence[Run], data_dir: Path) -> list[OutputSource]:
    """The last epoch of the first run of each method that has weights."""
    students: dict[str, OutputSource] = {}
    for run in finished:
        preset, name = run.preset, method_label(run)
        role: Role = "plain" if preset.teacher else "baseline"
        if preset.standardized:
            role = "standardized"
        if name in students:
            continue
        try:
            network = load_trained_network(run.path, weights="last", data_dir=data_dir)
            students[name] = OutputSource(name, preset.run_path, role, network)
        except RequestError as error:
            info(f"left out of the figures of logits: {error}")
    return list(students.values())


def _temperature(runs: Sequence[Run]) -> float:
    """The temperature of the first plain logit method that has one."""
    for run in runs:
        method = run.preset.method
        is_learned = hasattr(method, "temperature_range")
        if not (run.preset.standardized or is_feature_method(method) or is_learned):
            return float(getattr(method, "temperature", _DEFAULT_TEMPERATURE))
    return _DEFAULT_TEMPERATURE
