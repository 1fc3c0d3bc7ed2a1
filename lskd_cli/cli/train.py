"""lskd train."""

import json
from typing import Annotated

import typer

from lskd_cli.cli import options
from lskd_cli.cli.console import out


def train(
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="A preset's name, or a YAML file of one.")
    ],
    stand: Annotated[
        bool, typer.Option("--stand", help="Standardize the logits, with the row's settings.")
    ] = False,
    base_temp: Annotated[
        float | None,
        typer.Option(
            help="Temperature: of the standardized logits with --stand, else the method's."
        ),
    ] = None,
    kd_weight: Annotated[
        float | None, typer.Option(help="Weight of the distillation loss.")
    ] = None,
    settings: options.Settings = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights.")] = None,
    epochs: options.Epochs = None,
    val_split: options.ValSplit = None,
    limit_train: options.LimitTrain = None,
    teacher_checkpoint: options.TeacherCheckpoint = None,
    data_dir: options.DataDir = options.DATA_DIR,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    graphs: options.Graphs = None,
    compile_: options.Compile = False,
    teacher_cache: options.TeacherCache = False,
    fresh: options.Fresh = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the preset and rehearse one step; write nothing."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the finished run as JSON.")
    ] = False,
) -> None:
    """Train one network: a student with its teacher, or a network alone.

    An unfinished run goes on where it stopped; a finished one is left alone.

    Example: [bold]lskd train --preset kd-r32x4-r8x4 --stand[/]
    """
    asked = options.requested_preset(
        preset, settings, seed, epochs, val_split, limit_train, stand, base_temp, kd_weight
    )
    # Imported here, as in the other commands: torch takes seconds, and --help should not.
    from lskd_cli.cli.training import compute_of, train_presets
    from lskd_cli.engine.training import Places, rehearse

    compute = compute_of(device, precision, graphs, compile_)
    if dry_run:
        from lskd_cli.config import to_yaml

        losses = rehearse(asked, compute)
        out.print(to_yaml(asked), end="", markup=False, highlight=False)
        out.print(f"# one step on random images: {losses}", markup=False, highlight=False)
        return
    cache = checkpoints_dir / "logits" if teacher_cache else None
    places = Places(data_dir, checkpoints_dir, runs_dir, teacher_checkpoint, cache)
    (folder,) = train_presets([asked], places, compute, fresh)
    if as_json:
        out.print_json(json.dumps({"run": str(folder.path), **folder.info()}))
