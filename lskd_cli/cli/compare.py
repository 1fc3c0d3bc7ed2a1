"""lskd compare."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lskd_cli.cli import options
from lskd_cli.cli.console import out, say, speaks
from lskd_cli.cli.grid import combinations, listed_axes
from lskd_cli.cli.tables import as_table
from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError
from lskd_cli.results.details import make_details
from lskd_cli.results.runs import Run, find_runs
from lskd_cli.results.table import TEXT_FORMATS
from lskd_cli.results.tables import make_tables


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Run folders; all if none.")
    ] = None,
    presets: Annotated[
        list[str] | None, typer.Option("--preset", "-p", help="Only this preset; repeatable.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train what is missing: with and without --stand.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2,...",
            help="With --train: standardized with each of these values of temperature, kd_weight, "
            "...; further keys may follow, or --sweep again.",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds to train, as 0,1,2; 0 if not given.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="table, md, latex, csv or json.")
    ] = "table",
    accuracy: options.Accuracy = "best",
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="A table for each setting instead: best and last epoch, time and hardware.",
        ),
    ] = False,
    settings: options.Settings = None,
    method_files: options.MethodFile = None,
    epochs: options.Epochs = None,
    val_split: options.ValSplit = None,
    limit_train: options.LimitTrain = None,
    teacher: options.Teacher = None,
    dataset: options.DataSet = None,
    teacher_checkpoint: options.TeacherCheckpoint = None,
    data_dir: options.DataDir = options.DATA_DIR,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    graphs: options.Graphs = None,
    compile_: options.Compile = False,
    teacher_cache: options.TeacherCache = False,
    skip_bad_images: options.SkipBadImages = False,
    checkpoint_minutes: options.CheckpointMinutes = options.CHECKPOINT_MINUTES,
    logs: options.Logs = None,
    fresh: options.Fresh = False,
) -> None:
    """Compare each method with and without standardization, beside the published values.

    With --train, both are trained first, on the same batches, in one pass over one teacher.

    Example: [bold]lskd compare --train --preset kd-digits --seeds 0,1,2[/]
    """
    options.check_one_of("--format", format_, ("table", "json", *TEXT_FORMATS))
    options.check_one_of("--accuracy", accuracy, ("best", "last"))
    # What follows a --sweep without an option of its own comes in as a run.
    more = [str(run) for run in runs or [] if sweep and "=" in str(run)]
    runs = [run for run in runs or [] if str(run) not in more]
    options.load_method_files(method_files)
    if train:
        if not presets:
            raise RequestError("--train: name what to train with --preset")
        if runs:
            raise RequestError(f"{runs[0]}: --train trains presets; leave the run folders out")
        if any(setting.partition("=")[0].strip() == "seed" for setting in settings or []):
            raise RequestError("--set seed: with --train the seeds are those of --seeds")
        changes = options.Changes(
            settings=settings or (),
            epochs=epochs,
            val_split=val_split,
            limit_train=limit_train,
            teacher=teacher,
            dataset=dataset,
            data_dir=data_dir,
        )
        axes = listed_axes([*(sweep or []), *more])
        arms = [
            arm
            for name in presets
            for seed in options.listed("--seeds", seeds or "0")
            for arm in _arms(name, changes, seed, axes)
        ]
        from lskd_cli.cli.training import computing, places_of, train_presets

        places = places_of(
            data_dir, checkpoints_dir, runs_dir, teacher_checkpoint, teacher_cache,
            skip_bad_images, checkpoint_minutes, logs,
        )  # fmt: skip
        with computing(device, precision, graphs, compile_) as compute:
            folders = train_presets(arms, places, compute, fresh)
        if not speaks:
            return
        found = find_runs(runs_dir, [folder.path for folder in folders], say)
    else:
        training_only = {
            "--sweep": sweep, "--seeds": seeds, "--set": settings, "--epochs": epochs,
            "--val-split": val_split, "--limit-train": limit_train, "--teacher": teacher,
            "--dataset": dataset, "--skip-bad-images": skip_bad_images, "--fresh": fresh,
            "--teacher-checkpoint": teacher_checkpoint, "--teacher-cache": teacher_cache,
            "--graphs": graphs, "--compile": compile_, "--log": logs,
        }  # fmt: skip
        given = [option for option, value in training_only.items() if value]
        if given:
            raise RequestError(f"{', '.join(given)}: of use only with --train")
        found = find_runs(runs_dir, runs or [], say)
        if presets:
            names = {load_preset(name).name for name in presets}
            found = [run for run in found if run.preset.name in names]
    tables = make_details(found) if details else make_tables(found, accuracy)
    _mention_left_out(found)
    if not tables:
        searched = ", ".join(map(str, runs or [runs_dir]))
        raise RequestError(f"no finished run in {searched}; 'lskd compare --train' makes some")
    if format_ == "json":
        records = [record for table in tables for record in table.records]
        out.print_json(json.dumps(records))
    elif format_ == "table":
        for table in tables:
            out.print(as_table(table, out.width))
    else:
        print(TEXT_FORMATS[format_](tables), end="")  # noqa: T201 (unwrapped)


def _arms(
    name: str, changes: options.Changes, seed: int, axes: dict[str, list[float]]
) -> list[Preset]:
    """The preset without standardization, and with it where the method has any; or a sweep."""
    preset = options.requested_preset(name, changes, seed)
    if axes:
        return [*combinations(name, changes, seed, axes), preset.with_stand(False)]
    if not preset.can_standardize:
        return [preset]
    return [preset.with_stand(False), preset.with_stand(True)]


def _mention_left_out(runs: Sequence[Run]) -> None:
    unfinished = [str(run.path) for run in runs if not run.finished]
    if unfinished:
        say(f"left out, not finished: {', '.join(unfinished)}")
