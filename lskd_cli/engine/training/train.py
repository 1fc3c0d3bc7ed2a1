"""Training of a joint run, and the record of how it ended."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import torch

from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.joint_run import JointRun, images_digest
from lskd_cli.engine.training.loop import train_epochs
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import Interrupted, RequestError, RunError, is_out_of_memory
from lskd_cli.io.printable import printable


def train_joint_run(
    joint_run: JointRun,
    students: Sequence[StudentTrainer],
    callbacks: Sequence[Callback],
    command: str,
    should_stop: Callable[[], bool],
) -> None:
    """Train to the last epoch; the run.json of every run describes how the training ended.

    Runs whose students have left are not marked as done.

    Args:
        joint_run: the runs and everything that they share.
        students: from ``JointRun.create_students``.
        callbacks: called after steps and epochs.
        command: command line, for run.json.
        should_stop: called after every launch of steps; True saves all students and stops.

    Raises:
        RequestError: the processes do not see the same files.
        Interrupted: ``should_stop`` returned True; every state is saved.
        RunError: a loss was not finite, memory or disk were full, or another process failed;
            the last saved state is kept.
    """
    _check_processes(joint_run, students)
    group = joint_run.group
    try:
        for student in students:
            start = joint_run.folder(student.preset).start
            details = _details(joint_run, student, students, command)
            group.on_main_process(partial(start, student.preset, details))
        with joint_run.runtime.precision_context():
            train_epochs(joint_run, students, callbacks, should_stop)
    except Interrupted:
        _set_state(joint_run, "interrupted")
        raise
    except Exception as error:
        _fail(joint_run, error)
    for student in students:
        if student.has_left:
            continue
        finish = joint_run.folder(student.preset).finish
        group.on_main_process(partial(finish, student.history, student.best))


def _fail(joint_run: JointRun, error: Exception) -> NoReturn:
    """Write the cause of an error to run.json, and raise an error that describes it."""
    failure = joint_run.group.failure
    cause = printable(failure.cause(error) if failure else str(error))
    _set_state(joint_run, "failed", error=cause)
    if is_out_of_memory(error):
        raise RunError(
            f"{joint_run.runtime.device}: out of memory; train fewer presets or seeds at a time, "
            "or use a smaller --batch-size"
        ) from error
    if failure and isinstance(error, RuntimeError):
        raise RunError(
            f"{cause}; the last saved state is kept, and the same command resumes the run"
        ) from error
    raise error


def _check_processes(joint_run: JointRun, students: Sequence[StudentTrainer]) -> None:
    """Check that all processes resume from the same states with the same images."""
    group, teacher = joint_run.group, joint_run.teacher
    if not group.all_equal(torch.tensor([student.position for student in students])):
        raise RequestError(
            f"{joint_run.folder(students[0].preset).path}: the processes read different states; "
            "--runs-dir must be a folder that all machines share"
        )
    if teacher and not group.all_equal(_digest_tensor(teacher.checkpoint.sha256)):
        raise RequestError(
            f"{teacher.checkpoint.path}: the processes read different teachers; "
            "--checkpoints-dir must be a folder that all machines share"
        )
    if not group.all_equal(_digest_tensor(images_digest(joint_run.splits) or "")):
        raise RequestError("--data-dir: the processes find different files in it")


def _digest_tensor(digest: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)


def _details(
    joint_run: JointRun,
    student: StudentTrainer,
    students: Sequence[StudentTrainer],
    command: str,
) -> dict[str, Any]:
    """Entries of run.json that describe how a run is trained."""
    runtime = joint_run.runtime
    details: dict[str, Any] = {
        "command": command,
        "device": runtime.describe(),
        "precision": runtime.precision,
        "graphs": runtime.graphs,
        "compiled": runtime.compiled,
        "processes": joint_run.group.world_size,
        "data_dir": str(joint_run.options.data_dir),
        "images_sha256": images_digest(joint_run.splits),
        "joint_runs": [other.preset.run_path for other in students],
        "added_parameters": student.added_parameters,
    }
    if student.initial is not None:
        initial = student.initial.checkpoint
        details |= {"init": str(initial.path), "init_sha256": initial.sha256}
    if joint_run.teacher and student.preset.teacher:
        checkpoint = joint_run.teacher.checkpoint
        details |= {
            "teacher": str(checkpoint.path),
            "teacher_sha256": checkpoint.sha256,
            "teacher_top1": checkpoint.top1,
            "teacher_cache": joint_run.options.teacher_cache,
        }
    return details


def _set_state(joint_run: JointRun, state: str, **details: str) -> None:
    for run in joint_run.runs if joint_run.group.is_main_process else ():
        # On a full disk this write fails too; the first error is the one to report.
        with suppress(RunError):
            joint_run.folder(run.preset).update(state=state, **details)
