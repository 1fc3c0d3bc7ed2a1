"""The command ``lskd train``."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer

from lskd_cli.cli import completion, options
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.cli.training_options import Loggers, with_training_options
from lskd_cli.config import Preset, PresetOptions, TrainingOptions, requested_preset, to_yaml
from lskd_cli.config.requests import select_shard
from lskd_cli.errors import RequestError


@with_training_options
def train(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PRESET",
            autocompletion=completion.presets,
            help="Names or YAML files of presets.",
            show_default=False,
        ),
    ] = None,
    *,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            "-p",
            autocompletion=completion.presets,
            help="Name or YAML file of a preset; repeatable.",
        ),
    ] = None,
    changes: PresetOptions,
    training: TrainingOptions,
    stand: Annotated[
        bool,
        typer.Option("--stand", help="Standardize the logits, with the settings of the preset."),
    ] = False,
    base_temp: Annotated[
        float | None,
        typer.Option(
            help="Base temperature with --stand (stand.temperature), else the temperature of the "
            "method."
        ),
    ] = None,
    kd_weight: Annotated[
        float | None, typer.Option(help="Weight of the distillation loss.")
    ] = None,
    method_files: options.MethodFiles = None,
    model_files: options.ModelFiles = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of weight initialization.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several seeds, e.g. 0,1,2, with a run for each.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Run shard I of N (1-based).")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the preset, run a few steps on random images, and estimate time and "
            "memory; write nothing.",
        ),
    ] = False,
    logs: Loggers = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the finished runs as JSON.")
    ] = False,
) -> None:
    """Train a student with its teacher, or a network without distillation.

    An unfinished run is resumed, and a finished one is skipped. Several presets and seeds are
    trained one after the other. Under torchrun, several processes train a run together.

    Examples:
        [bold]lskd train --preset kd-r32x4-r8x4 --stand[/]
        [bold]lskd train kd-digits --seeds 0,1,2 --lr 0.1[/]
        [bold]lskd train kd-own --teacher timm/resnet50 --dataset imagefolder[/]
    """
    presets = [*(names or ()), *(presets or ())]
    if not presets:
        raise RequestError("name a preset; 'lskd presets list' shows all presets")
    if seed is not None and seeds is not None:
        raise RequestError("--seed and --seeds are mutually exclusive")
    options.load_method_files(method_files)
    options.load_model_files(model_files)
    changes = replace(changes, stand=stand, base_temp=base_temp, kd_weight=kd_weight)
    selected_seeds = [seed] if seeds is None else options.parse_ints("--seeds", seeds)
    runs = [
        requested_preset(name, changes, training.data_dir, number)
        for name in presets
        for number in selected_seeds
    ]
    if shard is not None:
        runs = select_shard(runs, shard)
        if not runs:
            info(f"--shard {shard}: no run is left for it")
            if as_json:
                print_json([])
            return
    # Imported here, as in the other commands, because torch takes seconds and --help should not.
    from lskd_cli.cli.multi_run import train_separately
    from lskd_cli.cli.run_training import list_folders, runtime_context, train_presets

    if dry_run:
        _dry_run(runs, training, as_json)
        return
    with runtime_context(training) as runtime:
        if len(runs) > 1 or shard is not None:
            train_separately(runs, training, runtime, logs, as_json)
            return
        train_presets(runs, training, runtime, logs)
        if as_json:
            (folder,) = list_folders(runs, training)
            run_info = folder.info()
            assert run_info is not None
            values = run_info.model_dump(mode="json", exclude_none=True)
            print_json({"run": str(folder.path), **values})


def _dry_run(presets: Sequence[Preset], training: TrainingOptions, as_json: bool) -> None:
    from lskd_cli.cli.run_training import describe_cost, runtime_context
    from lskd_cli.engine.planning.teacher_files import load_teachers
    from lskd_cli.engine.training.cost import preset_cost
    from lskd_cli.engine.training.dry_run import dry_run

    records = []
    with runtime_context(training) as runtime:
        for preset in presets:
            if training.teacher_checkpoint and preset.teacher:
                load_teachers(preset, training.teacher_checkpoint)
            losses = dry_run(preset, runtime)
            cost = preset_cost(preset, training.data_dir, runtime)
            records.append({"preset": preset.model_dump(), "losses": losses, **asdict(cost)})
            if not as_json:
                values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
                out.print(to_yaml(preset), end="", markup=False, highlight=False)
                out.print(f"# one step on random images: {values}", markup=False, highlight=False)
                out.print(f"# {describe_cost([cost])}", markup=False, highlight=False)
    if as_json:
        print_json(records if len(records) > 1 else records[0])
