"""Training for ``train`` and ``compare --train``: from presets to finished run folders."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from lskd_cli.cli.terminal.console import info, print_error
from lskd_cli.cli.terminal.progress import ProgressBar
from lskd_cli.cli.terminal.signals import stop_requests
from lskd_cli.cli.terminal.training_display import TrainingDisplay
from lskd_cli.cli.training_options import TrainingArguments
from lskd_cli.config import Preset, method_title
from lskd_cli.data import epoch_size
from lskd_cli.engine.devices.dist_env import is_launched, is_on_one_machine, restart_count
from lskd_cli.engine.devices.distributed import DEFAULT_TIMEOUT, init_distributed
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.planning.training_plan import TrainingOptions, TrainingPlan
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.joint_run import JointRun
from lskd_cli.engine.training.loggers import (
    LoggingCallback,
    MetricLogger,
    check_loggers,
    open_loggers,
)
from lskd_cli.engine.training.loop import StudentRun
from lskd_cli.errors import Interrupted, RequestError, RunError

Failures = dict[str, str]  # messages by the paths of the runs


@contextmanager
def runtime_context(training: TrainingArguments) -> Iterator[Runtime]:
    """The device and precision that the options select, with the processes of torchrun.

    Raises:
        RequestError: the device or precision is not available, or an option needs torchrun.
    """
    if training.process_timeout is not None and not is_launched():
        raise RequestError("--process-timeout: only valid under torchrun")
    minutes = training.process_timeout or DEFAULT_TIMEOUT.total_seconds() / 60
    runtime = resolve_runtime(
        training.device, training.precision, training.graphs, training.compile_
    )
    with init_distributed(runtime.device.type == "cuda", timedelta(minutes=minutes)) as group:
        yield replace(runtime, process_group=group)


def engine_options(training: TrainingArguments, runs_dir: Path) -> TrainingOptions:
    """The options of a command line in the form that the engine takes.

    Raises:
        RequestError: a logger is not installed.
    """
    loggers = [logger.value for logger in training.logs or ()]
    check_loggers(loggers)
    return TrainingOptions(
        training.data_dir,
        training.checkpoints_dir,
        runs_dir,
        training.teacher_checkpoint,
        training.checkpoints_dir / "logits" if training.teacher_cache else None,
        training.skip_bad_images,
        60 * training.checkpoint_minutes,
        loggers,
    )


def train_presets(
    presets: Sequence[Preset],
    options: TrainingOptions,
    runtime: Runtime,
    fresh: bool,
    joint: bool = True,
) -> Failures:
    """Train all presets that are not finished.

    Args:
        presets: presets of the runs.
        options: folders and options.
        runtime: device, precision and process group.
        fresh: archive previous runs. Processes that torchrun has restarted resume even so.
        joint: train runs together that share data, epochs and teacher, and stop at the first
            failure. Otherwise every run is trained separately, and a failure does not stop the
            others (except with torchrun, whose processes cannot continue after it).

    Returns:
        Error messages of runs that failed, only with ``joint=False``.

    Raises:
        RequestError: settings, teacher, data or folders do not fit the request.
        RunError: the training failed.
        Interrupted: the training was stopped; the message contains the command that resumes it.
    """
    if fresh and not is_on_one_machine():
        # Restarted processes could not know what was archived: machines count restarts separately.
        raise RequestError(
            "--fresh is not supported on several machines; use --set name=NEW, or move the old runs"
        )
    fresh = fresh and restart_count() == 0
    with (
        ProgressBar.for_data(presets[0].data) as bar,
        prepare(presets, options, runtime, bar, fresh, joint) as plan,
    ):
        for path in plan.archived:
            info(f"previous run moved to {path}")
        for folder in plan.finished:
            info(f"{folder.path}: already finished; use --fresh to retrain")
        return _train_plan(plan, options, joint, _resume_command(fresh))


def _resume_command(fresh: bool) -> str:
    if is_launched():
        return "the same torchrun command" + (", without --fresh" if fresh else "")
    # --fresh would start again from the first epoch.
    return shlex.join(["lskd", *(word for word in sys.argv[1:] if word != "--fresh")])


def _train_plan(
    plan: TrainingPlan, options: TrainingOptions, joint: bool, resume_command: str
) -> Failures:
    failures: Failures = {}
    try:
        with stop_requests() as should_stop:
            for number, run in enumerate(plan, start=1):
                if should_stop():
                    raise Interrupted("stopped between two runs")
                if not joint:
                    path = run.runs[0].preset.run_path
                    info(f"run {number} of {len(plan.joint_runs)}: {path}")
                try:
                    _train(run, should_stop, options.loggers)
                except Interrupted:
                    raise
                except Exception as error:
                    if joint or run.runtime.process_group.world_size > 1:
                        raise
                    message = _message(error)
                    print_error(message)
                    failures[run.runs[0].preset.run_path] = message
    except Interrupted as error:
        raise Interrupted(f"{error}; the state is saved; resume with: {resume_command}") from None
    except KeyboardInterrupt:
        raise Interrupted(
            f"aborted; the last saved state is kept; resume with: {resume_command}"
        ) from None
    return failures


def _message(error: Exception) -> str:
    is_expected = isinstance(error, (RequestError, RunError))
    return str(error) if is_expected else f"{type(error).__name__}: {error}"


def _train(run: JointRun, should_stop: Callable[[], bool], loggers: Sequence[str]) -> None:
    """Train a joint run with a display and loggers, and print the results."""
    students = run.create_students()
    _print_start(students)
    with (
        _display(run, students) as callback,
        closing(LoggingCallback(callback, _open_loggers(run, students, loggers))) as logging,
    ):
        run.train(students, logging, shlex.join(["lskd", *sys.argv[1:]]), should_stop)
    for item in students:
        history, best = item.student.history, item.student.best or item.student.history[-1]
        info(
            f"{item.folder.path}: top-1 {history[-1]['test_top1']:.2f} % after the last epoch, "
            f"{best['test_top1']:.2f} % after the best epoch ({best['epoch']})"
        )


def _print_start(students: Sequence[StudentRun]) -> None:
    for item in students:
        epoch, step = item.student.position
        if (epoch, step) > (1, 0) and not item.student.is_finished:
            info(f"{item.folder.path}: resuming at epoch {epoch}, step {step + 1}")
        elif item.student.initial is not None:
            info(f"{item.folder.path}: {item.student.initial.describe()}")
    added = {
        method_title(item.student.preset.method): item.student.added_parameters for item in students
    }
    for method, parameters in added.items():
        if parameters:
            info(f"{method} adds {parameters:,} trainable parameters (training only)")


def _display(run: JointRun, students: Sequence[StudentRun]) -> AbstractContextManager[Callback]:
    group = run.runtime.process_group
    if not group.is_main_process:
        return nullcontext(Callback())
    presets = [item.student.preset for item in students]
    images = epoch_size(len(run.splits.train), presets[0].data, group.shard)
    return TrainingDisplay(presets, images, _heading(run))


def _open_loggers(
    run: JointRun, students: Sequence[StudentRun], names: Sequence[str]
) -> dict[str, list[MetricLogger]]:
    def open_all() -> dict[str, list[MetricLogger]]:
        return {
            item.student.preset.run_path: open_loggers(
                names, item.student.preset, item.folder.path, len(item.student.history)
            )
            for item in students
        }

    return run.runtime.process_group.on_main_process(open_all) or {}


def _heading(run: JointRun) -> str:
    """Networks, data and runtime of a joint run in one line, and its teacher in another."""
    presets, runtime = [item.preset for item in run.runs], run.runtime
    preset = presets[0]
    networks = ", ".join(dict.fromkeys(preset.student for preset in presets))
    if preset.teacher:
        networks = f"{preset.teacher} → {networks}"
    seeds = ", ".join(dict.fromkeys(str(preset.seed) for preset in presets))
    modes = [str(runtime.device), runtime.precision]
    modes += ["graphs"] if runtime.graphs else []
    modes += ["compiled"] if runtime.compiled else []
    world_size = runtime.process_group.world_size
    modes += [f"{world_size} processes"] if world_size > 1 else []
    heading = (
        f"{networks} on {preset.data.label}, seed {seeds}, batch {preset.data.batch_size}, "
        f"{', '.join(modes)}"
    )
    if run.teacher is None:
        return heading
    checkpoint = run.teacher.checkpoint
    accuracy = "" if checkpoint.top1 is None else f" ({checkpoint.top1:.2f} % top-1)"
    heading += f"\nteacher: {checkpoint.path}{accuracy}"
    teacher_view = run.teacher.preprocessing
    if teacher_view.normalization != (tuple(preset.data.mean), tuple(preset.data.std)):
        mean, std = (_numbers(values) for values in teacher_view.normalization)
        heading += f"; its images are normalized with mean {mean} and std {std}"
    if teacher_view.image_size != preset.data.image_size:
        heading += f"; its images have {teacher_view.image_size} pixels"
    return heading


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def list_folders(presets: Sequence[Preset], options: TrainingOptions) -> list[RunFolder]:
    """The run folders of presets."""
    return [RunFolder.of(options.runs_dir, preset) for preset in presets]
