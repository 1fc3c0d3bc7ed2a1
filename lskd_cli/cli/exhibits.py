"""Which networks of a setting a report looks at, and where their weights are."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.cli.console import say
from lskd_cli.cli.progress import Bar
from lskd_cli.config import DKDMethod, KDMethod, MLKDMethod
from lskd_cli.engine.device import Compute
from lskd_cli.engine.exhibit import Exhibited, exhibit
from lskd_cli.engine.inspect import Subject, open_subject
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import teacher_size
from lskd_cli.outputs import Exhibit, Kind
from lskd_cli.results.comparison import arm_name, in_tables
from lskd_cli.results.runs import Run

_TEMPERATURE = 4.0  # of the divergences, where no plain method of the setting has a fixed one


def exhibit_of(
    setting: Sequence[Run], data_dir: Path, compute: Compute, sample: int
) -> Exhibit | None:
    """The teacher and one finished student of each method, with what they say of test images.

    None, with a line that says why, where there is no teacher or weights or images are missing.
    """
    finished = sorted((run for run in setting if run.finished), key=in_tables)
    taught = [run for run in finished if run.preset.teacher]
    if not taught:
        return None
    try:
        teacher = _teacher(taught[0])
        students = _students(finished, data_dir)
        if not students:
            return None
        say(f"looking at the logits of {len(students) + 1} networks")
        with Bar.of_data(teacher.subject.data) as bar:
            return exhibit(
                [teacher, *students], data_dir, compute, bar, _temperature(finished), sample
            )
    except (RequestError, RunError) as error:
        say(f"no figures of logits: {error}")
    except torch.OutOfMemoryError:
        say(f"no figures of logits: {compute.device}: out of memory; try --device cpu")
    return None


def _teacher(run: Run) -> Exhibited:
    """The teacher of a run, from where it was, for images as the run showed it.

    Raises:
        RequestError: it is not there any more, or is another file now.
    """
    model, data = run.preset.teacher, run.preset.data
    assert model is not None
    path, digest = run.info.get("teacher"), run.info.get("teacher_sha256")
    if path is None or digest is None:
        raise RequestError(f"{run.path}: does not say which file its teacher was")
    checkpoint = load_checkpoint(Path(path))
    if checkpoint.sha256 != digest:
        raise RequestError(f"{path}: not the teacher that {run.path} had")
    seen = data.model_copy(update={"image_size": teacher_size(model, data.image_size)})
    return Exhibited(model, path, "teacher", Subject(checkpoint, model, seen))


def _students(finished: Sequence[Run], data_dir: Path) -> list[Exhibited]:
    """The last epoch of the first run of each method that has weights."""
    students: dict[str, Exhibited] = {}
    for run in finished:
        preset, name = run.preset, arm_name(run.preset)
        kind: Kind = "plain" if preset.teacher else "alone"
        if preset.standardized:
            kind = "ours"
        if name in students:
            continue
        try:
            subject = open_subject(run.path, None, None, best=False, data_dir=data_dir)
            students[name] = Exhibited(name, preset.run_path, kind, subject)
        except RequestError as error:
            say(f"left out of the figures of logits: {error}")
    return list(students.values())


def _temperature(finished: Sequence[Run]) -> float:
    """That of the first method that has a fixed one, without standardization."""
    methods = [run.preset.method for run in finished if not run.preset.standardized]
    return next(
        (
            method.temperature
            for method in methods
            if isinstance(method, KDMethod | DKDMethod | MLKDMethod)
        ),
        _TEMPERATURE,
    )
