"""Which networks of a setting a report looks at, and where their weights are."""

from collections.abc import Sequence
from pathlib import Path

from lskd_cli.cli.console import say
from lskd_cli.cli.progress import Bar
from lskd_cli.engine.device import Compute
from lskd_cli.engine.exhibit import exhibit
from lskd_cli.engine.inspect import Subject, open_subject
from lskd_cli.errors import RequestError, RunError
from lskd_cli.outputs import Exhibit, Kind
from lskd_cli.results.comparison import in_tables, method_name
from lskd_cli.results.runs import Run

_TEMPERATURE = 4.0  # of the divergences, where no plain method of the setting has one


def exhibit_of(setting: Sequence[Run], data_dir: Path, compute: Compute) -> Exhibit | None:
    """The teacher and one finished student of each method, with what they say of test images.

    None, with a line that says why, where there is no teacher or weights or images are missing.
    """
    finished = sorted((run for run in setting if run.finished), key=in_tables)
    taught = [run for run in finished if run.preset.teacher]
    if not taught:
        return None
    try:
        teacher = _teacher(taught[0], data_dir)
    except RequestError as error:
        say(f"no figures of logits: {error}")
        return None
    temperature = _TEMPERATURE
    students: dict[str, tuple[str, Kind, Subject]] = {}
    for run in finished:
        preset, name = run.preset, method_name(run.preset)
        kind: Kind = "plain" if preset.teacher else "alone"
        if preset.standardized:
            name, kind = f"{name}+Ours", "ours"
        elif kind == "plain":
            temperature = getattr(preset.method, "temperature", temperature)
        if name in students:
            continue
        try:
            subject = open_subject(run.path, None, None, best=False, data_dir=data_dir)
            students[name] = name, kind, subject
        except RequestError as error:
            say(f"left out of the figures of logits: {error}")
    if not students:
        return None
    say(f"looking at {len(students) + 1} networks' logits of test images")
    shown = [(teacher.model, "teacher", teacher), *students.values()]
    try:
        with Bar.of_data(teacher.data) as bar:
            return exhibit(shown, data_dir, compute, bar, temperature)
    except (RequestError, RunError) as error:
        say(f"no figures of logits: {error}")
        return None


def _teacher(run: Run, data_dir: Path) -> Subject:
    """The teacher of a run, from where it was.

    Raises:
        RequestError: it is not there any more, or is another file now.
    """
    path = Path(run.info["teacher"])
    subject = open_subject(path, run.preset.teacher, run.preset.data.name, False, data_dir)
    if subject.checkpoint.sha256 != run.info["teacher_sha256"]:
        raise RequestError(f"{path}: not the teacher that {run.path} had")
    return subject
