"""The command ``lskd compare``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info, is_main_process, out, print_json
from lskd_cli.cli.terminal.rich_tables import as_rich_table
from lskd_cli.cli.training_options import (
    PARAMETERS,
    LoggerName,
    Loggers,
    with_training_options,
)
from lskd_cli.config import (
    TWO_CLASSES,
    Preset,
    PresetOptions,
    TrainingOptions,
    load_preset,
    requested_preset,
)
from lskd_cli.config.sweep import grid_presets, parse_axes
from lskd_cli.errors import RequestError
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import find_runs
from lskd_cli.results.sweeps import find_sweeps, without_sweeps
from lskd_cli.results.tables.comparison import make_comparison
from lskd_cli.results.tables.details import make_details
from lskd_cli.results.tables.sweep_table import make_sweep_table
from lskd_cli.results.tables.table_format import TEXT_FORMATS, Table


@with_training_options
def compare(
    context: typer.Context,
    changes: PresetOptions,
    training: TrainingOptions,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Run folders; by default all in --runs-dir."),
    ] = None,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            "-p",
            help="With --train: a preset to train, by name or YAML file. Otherwise: show only "
            "the runs of this preset. Repeatable.",
        ),
    ] = None,
    train: Annotated[
        bool,
        typer.Option("--train", help="Train missing runs, with and without standardization."),
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2,...",
            help="With --train: train a grid of these values of temperature, kd_weight or other "
            "standardization settings; repeat it for another key.",
        ),
    ] = None,
    equal_budget: Annotated[
        bool,
        typer.Option(
            "--equal-budget",
            help="With --train: give every method the same number of student passes over the "
            "training images; methods with two views of each image get half the epochs.",
        ),
    ] = False,
    seeds: Annotated[
        str | None, typer.Option(help="With --train: seeds to train, e.g. 0,1,2; default 0.")
    ] = None,
    format_: Annotated[
        Literal["table", "md", "latex", "csv", "json"],
        typer.Option("--format", help="Output format."),
    ] = "table",
    bold: Annotated[
        bool,
        typer.Option(
            "--bold",
            help="With --format md or latex: print a difference in bold if its interval does not "
            "contain 0.",
        ),
    ] = False,
    accuracy: options.Accuracy = "best",
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Print one table per teacher-student pair and schedule, with best and last epoch, "
            "time and hardware.",
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also print what the columns of the table mean.")
    ] = False,
    logs: Loggers = None,
    method_files: options.MethodFiles = None,
    model_files: options.ModelFiles = None,
) -> None:
    """Compare every method with and without standardization, next to the published values.

    With --train, both are trained first, on the same batches and with one teacher forward pass.

    Example: [bold]lskd compare --train --preset kd-digits --seeds 0,1,2[/]
    """
    if format_ != "table":
        options.refuse_options(context, ("explain",), "only valid with --format table")
    if format_ not in ("md", "latex"):
        options.refuse_options(context, ("bold",), "only valid with --format md or latex")
    if details:
        options.refuse_options(context, ("accuracy",), "not valid with --details, which has both")
    options.load_method_files(method_files)
    options.load_model_files(model_files)
    if train:
        if runs:
            raise RequestError(f"{runs[0]}: --train trains presets; do not give run folders")
        requested = _requested_presets(presets, changes, training.data_dir, seeds, sweep or [])
        if equal_budget:
            requested = _with_equal_budget(requested)
        folders = _train(requested, training, logs)
        if not is_main_process:
            return
        found = find_runs(training.runs_dir, folders, info)
    else:
        only_training = {*PARAMETERS, "sweep", "equal_budget", "seeds", "logs"} - {"runs_dir"}
        options.refuse_options(context, only_training, "only valid with --train")
        found = find_runs(training.runs_dir, runs or [], info)
        if presets:
            names = {load_preset(name, allow_unknown_method=True).name for name in presets}
            found = [run for run in found if run.preset.name in names]
    groups = group_runs(found)
    # Machine-readable formats have a row for each point of a sweep.
    shown = groups if format_ in ("csv", "json") else [without_sweeps(group) for group in groups]
    comparison = None if details else make_comparison(shown, accuracy)
    tables = make_details(shown) if details else [comparison] if comparison else []
    if format_ not in ("csv", "json"):
        tables += [
            make_sweep_table(group, sweep, accuracy)
            for group in groups
            for sweep in find_sweeps(group)
        ]
    unfinished: dict[str, list[str]] = {}
    for run in found:
        if not run.is_finished:
            unfinished.setdefault(run.preset.run_name, []).append(str(run.preset.seed))
    if unfinished:
        listed = [
            f"{name} (seed{'s' * (len(seeds) > 1)} {', '.join(seeds)})"
            for name, seeds in unfinished.items()
        ]
        info(f"unfinished runs are left out: {'; '.join(listed)}")
    if not tables:
        searched = ", ".join(map(str, runs or [training.runs_dir]))
        raise RequestError(f"no finished run in {searched}; train some with 'lskd compare --train'")
    _print_tables([replace(table, has_bold=bold) for table in tables], format_, explain)


def _requested_presets(
    names: Sequence[str] | None,
    changes: PresetOptions,
    data_dir: Path,
    seeds: str | None,
    sweep: Sequence[str],
) -> list[Preset]:
    """Every preset with and without standardization, or the grid of a sweep, for every seed."""
    if not names:
        raise RequestError("--train: select what to train with --preset")
    if any(setting.partition("=")[0].strip() == "seed" for setting in changes.settings or []):
        raise RequestError("--set seed: use --seeds with --train")
    axes = parse_axes(sweep)
    presets = []
    for name in names:
        for seed in options.parse_ints("--seeds", "0" if seeds is None else seeds):
            preset = requested_preset(name, changes, data_dir, seed)
            if axes:
                grid = grid_presets(name, changes, data_dir, seed, axes)
                presets += [*grid, preset.with_stand(False)]
            elif preset.can_standardize:
                presets += [preset.with_stand(False), preset.with_stand(True)]
            else:
                presets.append(preset)
                if preset.stand is not None and preset.data.class_count == 2:
                    info(f"{preset.run_path}: trained without standardization: {TWO_CLASSES}")
    return presets


def _with_equal_budget(presets: Sequence[Preset]) -> list[Preset]:
    """As many student passes for each preset as the one with the fewest has."""
    passes = min(preset.student_passes for preset in presets)
    changed = []
    for preset in presets:
        try:
            is_equal = preset.student_passes == passes
            changed.append(preset if is_equal else preset.with_student_passes(passes))
        except ValueError as error:
            raise RequestError(f"--equal-budget: {preset.name}: {error}; change --epochs") from None
    return changed


def _train(
    presets: Sequence[Preset], training: TrainingOptions, loggers: Sequence[LoggerName] | None
) -> list[Path]:
    """Train the missing runs, and return the folders of all runs."""
    from lskd_cli.cli.run_training import list_folders, runtime_context, train_presets

    with runtime_context(training) as runtime:
        train_presets(presets, training, runtime, loggers, with_estimate=True)
    return list(dict.fromkeys(folder.path for folder in list_folders(presets, training)))


def _print_tables(tables: Sequence[Table], format_: str, explain: bool) -> None:
    if format_ == "json":
        print_json([record for table in tables for record in table.records])
    elif format_ == "table":
        for table in tables:
            out.print(as_rich_table(table, out.width, explain))
    else:
        print(TEXT_FORMATS[format_](tables), end="")  # noqa: T201 (rich would wrap lines)
