"""A search for ``lskd tune``: from search spaces to finished trials."""

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lskd_cli.cli.run_training import (
    command_line,
    resume_hint,
    runtime_context,
    train_missing_teachers,
)
from lskd_cli.cli.terminal.console import info
from lskd_cli.cli.terminal.progress import ProgressBar
from lskd_cli.cli.terminal.search_display import SearchDisplay
from lskd_cli.cli.terminal.signals import stop_requests
from lskd_cli.config import Preset, TrainingOptions, to_yaml
from lskd_cli.config.search_space import FormSpace
from lskd_cli.data import epoch_size
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.planning.prepare import LoadedFiles, prepare
from lskd_cli.engine.search.capacity import measure_capacity
from lskd_cli.engine.search.search import SearchRun
from lskd_cli.engine.search.study import TRIALS, SearchOptions, SearchStudy, archive_search
from lskd_cli.engine.training.joint_run import JointRun, images_digest
from lskd_cli.errors import RequestError
from lskd_cli.results.tables.table_format import format_duration
from lskd_cli.search_info import SEARCH, SearchInfo, write_search_info
from lskd_cli.wording import counted

_ROUNDS = 4  # of joint runs, so that later proposals use the results of earlier ones


def search_folder(name: str, training: TrainingOptions) -> Path:
    """The folder of the search of a preset."""
    return training.runs_dir / f"tune-{name}"


def run_search(
    spaces: Sequence[FormSpace],
    training: TrainingOptions,
    options: SearchOptions,
    parallel: int | None,
) -> SearchInfo:
    """Train the trials of a search that are not finished.

    Args:
        spaces: search space of each form.
        training: folders and other options of the training.
        options: number of trials, sampler, pruner and storage.
        parallel: trials of a joint run; None for a quarter of all, if they fit into the memory.

    Raises:
        RequestError: settings, teacher, data or storage do not fit the request.
        RunError: the training or the storage failed.
        Interrupted: the search was stopped; the message contains the command that resumes it.
    """
    bases = [base for space in spaces for base in space.bases.values()]
    folder = search_folder(bases[0].name, training)
    command = command_line()
    with ExitStack() as stack:
        runtime = stack.enter_context(runtime_context(training))
        train_missing_teachers(bases, training, runtime)
        bar = stack.enter_context(ProgressBar.for_data(bases[0].data))
        should_stop = stack.enter_context(stop_requests())
        stack.enter_context(resume_hint(training.fresh))
        files = LoadedFiles()
        trial_options = replace(
            training,
            runs_dir=folder / TRIALS,
            teacher_runs_dir=training.runs_dir,
            fresh=False,
        )
        # Other processes that join the search check the same presets.
        unique = [base.model_copy(update={"name": f"check-{uuid.uuid4().hex}"}) for base in bases]
        with prepare(unique, trial_options, runtime, bar, loaded=files) as plan:
            joint_run = plan.joint_runs[0]
            if joint_run.splits.val is None:
                raise RequestError("--val-split: no images are held out; use --val-split 0.1")
            for note in plan.notes():
                info(note)
        if training.fresh and (archived := archive_search(folder)) is not None:
            info(f"previous search moved to {archived}")
        study = SearchStudy(spaces, folder, options, _request(spaces, options, joint_run))
        images = epoch_size(len(joint_run.splits.train), joint_run.data, joint_run.group.shard)
        num_parallel = parallel or _choose_parallel(study, bases[0], runtime, images)
        teacher = joint_run.teacher
        heading = (
            f"{bases[0].name}: {bases[0].teacher} → {bases[0].student} on {bases[0].data.label}, "
            f"{counted(study.num_trials, 'trial')} of {counted(study.epochs, 'epoch')}, "
            f"{options.sampler}, "
            f"pruner {options.pruner}, {runtime.device}, {runtime.precision}"
        )
        if teacher is not None:
            heading += f"\nteacher: {teacher.checkpoint.path}"
        with SearchDisplay(
            study.trials, study.num_trials, study.epochs, images, heading
        ) as display:
            try:
                SearchRun(
                    study, trial_options, runtime, bar, files, display, command, should_stop
                ).run(num_parallel)
            finally:
                result = _info(study, bases[0], command, len(joint_run.splits.val))
                write_search_info(folder / SEARCH, result)
    running = sum(trial.state == "running" for trial in result.trials)
    if running:
        trials = counted(running, "trial is", "trials are")
        info(f"{trials} trained by other processes; this command joins them again")
    return result


def _request(
    spaces: Sequence[FormSpace], options: SearchOptions, joint_run: JointRun
) -> dict[str, object]:
    """What all trials of a search have in common."""
    teacher = joint_run.teacher
    return {
        "preset": [to_yaml(base) for space in spaces for base in space.bases.values()],
        "space": [
            f"{space.form}: {item.describe()}"
            for space in spaces
            for item in space.all_dimensions()
        ],
        "seeds": list(options.seeds),
        "grid": options.sampler == "grid",
        "teacher": None if teacher is None else teacher.checkpoint.sha256,
        "precision": joint_run.runtime.precision,
        "images": images_digest(joint_run.splits),
    }


def _choose_parallel(study: SearchStudy, preset: Preset, runtime: Runtime, images: int) -> int:
    """Trials of a joint run that fit into the memory, and the time of the search in a message."""
    unfinished = study.num_trials - sum(trial.is_finished for trial in study.trials())
    if not unfinished:
        return 1
    capacity = measure_capacity(preset, images, runtime)
    seeds = len(study.options.seeds)
    rounds = max(-(-study.num_trials // _ROUNDS), 2)
    parallel = max(min(capacity.students // seeds, rounds), 1)
    steps = study.epochs * -(-images // preset.data.batch_size) * -(-unfinished // parallel)
    seconds = steps * capacity.step_seconds(parallel * seeds)
    pruning = " without pruning" if study.options.pruner != "none" else ""
    info(
        f"joint runs of {counted(parallel, 'trial')}; estimate{pruning}: "
        f"{format_duration(seconds)}, without evaluating images"
    )
    return parallel


def _info(study: SearchStudy, preset: Preset, command: str, held_out: int) -> SearchInfo:
    importances = {form: study.importances(form) for form in study.spaces}
    return SearchInfo(
        name=study.name,
        command=command,
        pair=f"{preset.teacher} → {preset.student} on {preset.data.label}",
        epochs=study.epochs,
        seeds=list(study.options.seeds),
        num_trials=study.num_trials,
        held_out=held_out,
        sampler=study.options.sampler,
        pruner=study.options.pruner,
        dimensions={form: space.all_dimensions() for form, space in study.spaces.items()},
        trials=study.trials(),
        importances={form: values for form, (values, _) in importances.items()},
        importance_epoch={form: epoch for form, (_, epoch) in importances.items()},
    )
