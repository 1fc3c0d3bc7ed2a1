"""Training for ``train`` and ``compare --train``: from presets to finished run folders."""

import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta

import torch

from lskd_cli.cli.terminal.console import info, print_error
from lskd_cli.cli.terminal.progress import ProgressBar
from lskd_cli.cli.terminal.signals import stop_requests
from lskd_cli.cli.terminal.training_display import TrainingDisplay
from lskd_cli.cli.training_options import LoggerName
from lskd_cli.config import Data, Preset, TrainingOptions, method_title
from lskd_cli.data import epoch_size
from lskd_cli.engine.devices.dist_env import is_launched, is_on_one_machine, restart_count
from lskd_cli.engine.devices.distributed import DEFAULT_TIMEOUT, init_distributed
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.planning.teacher_files import missing_teachers
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.cost import TrainingCost, joint_run_cost
from lskd_cli.engine.training.joint_run import JointRun
from lskd_cli.engine.training.loggers import (
    LoggingCallback,
    MetricLogger,
    check_loggers,
    open_loggers,
)
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.train import train_joint_run
from lskd_cli.errors import Interrupted, RequestError, RunError
from lskd_cli.io.printable import without_passwords
from lskd_cli.results.tables.table_format import format_duration
from lskd_cli.wording import counted

Failures = dict[str, str]  # messages by the paths of the runs


@contextmanager
def runtime_context(options: TrainingOptions) -> Iterator[Runtime]:
    """The device and precision that the options select, with the processes of torchrun.

    Raises:
        RequestError: the device or precision is not available, or an option needs torchrun.
    """
    if options.process_timeout is not None and not is_launched():
        raise RequestError("--process-timeout: only valid under torchrun")
    minutes = options.process_timeout or DEFAULT_TIMEOUT.total_seconds() / 60
    runtime = resolve_runtime(options.device, options.precision, options.graphs, options.compiled)
    if runtime.device.type == "cuda" and runtime.device.index is not None:
        torch.cuda.set_device(runtime.device)  # for work that names no device
    with init_distributed(runtime.device.type == "cuda", timedelta(minutes=minutes)) as group:
        yield replace(runtime, process_group=group)


def train_presets(
    presets: Sequence[Preset],
    options: TrainingOptions,
    runtime: Runtime,
    loggers: Sequence[LoggerName] | None = None,
    joint: bool = True,
    with_estimate: bool = False,
) -> Failures:
    """Train all presets that are not finished.

    If the teacher of an embedded data set does not exist, it is trained first.

    Args:
        presets: presets of the runs.
        options: folders and other options. Processes that torchrun has restarted resume the runs
            even if previous ones are to be archived.
        runtime: device, precision and process group.
        loggers: loggers of metrics.
        joint: train runs together that share data, epochs and teacher, and stop at the first
            failure. Otherwise every run is trained separately, and a failure does not stop the
            others (except with torchrun, whose processes cannot continue after it).
        with_estimate: print an estimate of time and memory first.

    Returns:
        Error messages of runs that failed, only with ``joint=False``.

    Raises:
        RequestError: settings, teacher, data or folders do not fit the request, or a logger is not
            installed.
        RunError: the training failed.
        Interrupted: the training was stopped; the message contains the command that resumes it.
    """
    names = [logger.value for logger in loggers or ()]
    check_loggers(names)
    if options.fresh and not is_on_one_machine():
        # Restarted processes could not know what was archived: machines count restarts separately.
        raise RequestError(
            "--fresh is not supported on several machines; use --set name=NEW, or move the old runs"
        )
    options = replace(options, fresh=options.fresh and restart_count() == 0)
    train_missing_teachers(presets, options, runtime)
    failures: Failures = {}
    with (
        ProgressBar.for_data(presets[0].data) as bar,
        prepare(presets, options, runtime, bar, joint) as plan,
        resume_hint(options.fresh),
        stop_requests() as should_stop,
    ):
        for note in plan.notes():
            info(note)
        for path in plan.archived:
            info(f"previous run moved to {path}")
        for folder in plan.finished:
            info(f"{folder.path}: already finished; use --fresh to retrain")
        if with_estimate and plan.joint_runs:
            info(describe_cost([joint_run_cost(joint_run) for joint_run in plan.joint_runs]))
        for number, joint_run in enumerate(plan.joint_runs, start=1):
            if should_stop():
                raise Interrupted("stopped between two runs")
            run_path = joint_run.runs[0].preset.run_path
            if not joint:
                info(f"run {number} of {len(plan.joint_runs)}: {run_path}")
            try:
                _train(joint_run, should_stop, names)
            except Interrupted:
                raise
            except Exception as error:
                if joint or runtime.process_group.world_size > 1:
                    raise
                failures[run_path] = _message(error)
                print_error(failures[run_path])
    return failures


def train_missing_teachers(
    presets: Sequence[Preset], options: TrainingOptions, runtime: Runtime
) -> None:
    """Train the teachers of embedded data sets that do not exist.

    Raises:
        RequestError, RunError, Interrupted: those of ``train_presets``.
    """
    if options.teacher_checkpoint is not None:
        return
    requested = {preset.run_path for preset in presets}
    for teacher in missing_teachers(presets, options.checkpoints_dir, options.runs_dir):
        if teacher.run_path not in requested:
            epochs = counted(teacher.schedule.epochs, "epoch")
            info(f"the teacher {teacher.student} is trained first: {teacher.name}, {epochs}")
            train_presets([teacher], replace(options, fresh=False), runtime)


def command_line(without: Collection[str] = ()) -> str:
    """The command line for messages and files, without some words and without passwords."""
    words = [without_passwords(word) for word in sys.argv[1:] if word not in without]
    return shlex.join(["lskd", *words])


@contextmanager
def resume_hint(fresh: bool) -> Iterator[None]:
    """Add the command that resumes an interrupted training to its message."""
    if is_launched():
        command = "the same torchrun command" + (", without --fresh" if fresh else "")
    else:
        # --fresh would start again from the first epoch.
        command = command_line(without=("--fresh",))
    try:
        yield
    except Interrupted as error:
        raise Interrupted(f"{error}; the state is saved; resume with: {command}") from None
    except KeyboardInterrupt:
        raise Interrupted(
            f"aborted; the last saved state is kept; resume with: {command}"
        ) from None


def _message(error: Exception) -> str:
    is_expected = isinstance(error, (RequestError, RunError))
    return str(error) if is_expected else f"{type(error).__name__}: {error}"


def _train(joint_run: JointRun, should_stop: Callable[[], bool], loggers: Sequence[str]) -> None:
    """Train a joint run with a display and loggers, and print the results."""
    students = joint_run.create_students()
    _print_start(joint_run, students)
    command = command_line()
    with (
        _display(joint_run) as display,
        closing(LoggingCallback(_open_loggers(joint_run, students, loggers), info)) as logging,
    ):
        train_joint_run(joint_run, students, [display, logging], command, should_stop)
    for student in students:
        history, best = student.history, student.best or student.history[-1]
        info(
            f"{joint_run.folder(student.preset).path}: top-1 {history[-1]['test_top1']:.2f} % "
            f"after the last epoch, {best['test_top1']:.2f} % after the best epoch "
            f"({best['epoch']})"
        )


def _print_start(joint_run: JointRun, students: Sequence[StudentTrainer]) -> None:
    images, data = len(joint_run.splits.train), joint_run.data
    used = epoch_size(images, data, joint_run.group.shard)
    if used < images and not data.drop_last:
        info(
            f"{used} of {images} images are used in each epoch: the last batch would have a "
            "single image, which batch norms cannot normalize"
        )
    for student in students:
        path, (epoch, step) = joint_run.folder(student.preset).path, student.position
        if (epoch, step) > (1, 0) and not student.is_finished:
            info(f"{path}: resuming at epoch {epoch}, step {step + 1}")
        elif student.initial is not None:
            info(f"{path}: {student.initial.describe()}")
    for method, student in {method_title(s.preset.method): s for s in students}.items():
        if student.student.added_parameters:
            count = student.student.added_parameters
            info(
                f"{method} adds {count:,} parameters to the student, with the teacher's classifier"
            )
        if student.added_parameters:
            count = student.added_parameters
            info(f"{method} adds {count:,} trainable parameters (training only)")


def _display(joint_run: JointRun) -> AbstractContextManager[Callback]:
    group = joint_run.group
    if not group.is_main_process:
        return nullcontext(Callback())
    images = epoch_size(len(joint_run.splits.train), joint_run.data, group.shard)
    presets = [run.preset for run in joint_run.runs]
    return TrainingDisplay(presets, images, _heading(joint_run))


def _open_loggers(
    joint_run: JointRun, students: Sequence[StudentTrainer], names: Sequence[str]
) -> dict[str, list[MetricLogger]]:
    def open_all() -> dict[str, list[MetricLogger]]:
        loggers = {}
        for student in students:
            preset, folder = student.preset, joint_run.folder(student.preset).path
            loggers[preset.run_path] = open_loggers(names, preset, folder, len(student.history))
        return loggers

    return joint_run.group.on_main_process(open_all) or {}


def _heading(run: JointRun) -> str:
    """Networks, data and runtime of a joint run in one line, and its teacher in another."""
    presets, runtime = [item.preset for item in run.runs], run.runtime
    teacher, data = presets[0].teacher, run.data
    networks = ", ".join(dict.fromkeys(preset.student for preset in presets))
    if teacher:
        networks = f"{teacher} → {networks}"
    seeds = ", ".join(dict.fromkeys(str(preset.seed) for preset in presets))
    modes = [str(runtime.device), runtime.precision]
    modes += ["graphs"] if runtime.graphs else []
    modes += ["compiled"] if runtime.compiled else []
    world_size = runtime.process_group.world_size
    modes += [f"{world_size} processes"] if world_size > 1 else []
    heading = (
        f"{networks} on {data.label}, seed {seeds}, batch {data.batch_size}, {', '.join(modes)}"
    )
    if run.teacher is None:
        return heading
    return "\n".join([heading, *(_describe_teacher(one, data) for one in run.teacher.members)])


def _describe_teacher(teacher: TrainedNetwork, data: Data) -> str:
    checkpoint, view = teacher.checkpoint, teacher.preprocessing
    accuracy = "" if checkpoint.top1 is None else f" ({checkpoint.top1:.2f} % top-1)"
    text = f"teacher: {checkpoint.path}{accuracy}"
    if view.normalization != (tuple(data.mean), tuple(data.std)):
        mean, std = (_numbers(values) for values in view.normalization)
        text += f"; its images are normalized with mean {mean} and std {std}"
    if view.image_size != data.image_size:
        text += f"; its images have {view.image_size} pixels"
    return text


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def describe_cost(costs: Sequence[TrainingCost]) -> str:
    """Time and memory of joint runs that are trained one after the other, in one line."""
    steps, seconds = sum(cost.num_steps for cost in costs), sum(cost.seconds for cost in costs)
    memory = max(cost.memory or 0 for cost in costs)
    return (
        f"estimate: {format_duration(seconds)} for {steps:,} steps, without reading and evaluating "
        f"images{f'; memory {memory / 1e9:.1f} GB' if memory else ''}"
    )


def list_folders(presets: Sequence[Preset], options: TrainingOptions) -> list[RunFolder]:
    """The run folders of presets."""
    return [RunFolder.of(options.runs_dir, preset) for preset in presets]
