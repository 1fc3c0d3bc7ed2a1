"""lskd train."""

import json
from typing import Annotated

import typer

from lskd_cli.cli import options
from lskd_cli.cli.console import out
from lskd_cli.errors import RequestError


def train(
    presets: Annotated[
        list[str],
        typer.Option("--preset", "-p", help="A preset's name, or a YAML file; repeatable."),
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
    method_files: options.MethodFile = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several seeds, as 0,1,2: a run for each.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Of several runs, the I-th of N parts, from 1 on."),
    ] = None,
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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the preset and rehearse one step; write nothing."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the finished run, or runs, as JSON.")
    ] = False,
) -> None:
    """Train a student with its teacher, or a network alone; several presets and seeds in turn.

    An unfinished run goes on where it stopped; a finished one is left alone. Under torchrun,
    several processes train it together.

    Example: [bold]lskd train --preset kd-r32x4-r8x4 --stand[/]
    """
    if seed is not None and seeds is not None:
        raise RequestError("--seed, --seeds: one of the two")
    options.load_method_files(method_files)
    changes = options.Changes(
        settings=settings or (),
        epochs=epochs,
        val_split=val_split,
        limit_train=limit_train,
        teacher=teacher,
        dataset=dataset,
        data_dir=data_dir,
        stand=stand,
        base_temp=base_temp,
        kd_weight=kd_weight,
    )
    chosen = [seed] if seeds is None else options.listed("--seeds", seeds)
    asked = [options.requested_preset(name, changes, one) for name in presets for one in chosen]
    if shard is not None:
        asked = options.shard_of(asked, shard)
    # Imported here, as in the other commands: torch takes seconds, and --help should not.
    from lskd_cli.cli.sweep import sweep
    from lskd_cli.cli.training import computing, places_of, train_presets
    from lskd_cli.engine.rehearsal import rehearse

    with computing(device, precision, graphs, compile_) as compute:
        if dry_run:
            from lskd_cli.config import to_yaml

            for preset in asked:
                losses = rehearse(preset, compute)
                out.print(to_yaml(preset), end="", markup=False, highlight=False)
                out.print(f"# one step on random images: {losses}", markup=False, highlight=False)
            return
        places = places_of(
            data_dir, checkpoints_dir, runs_dir, teacher_checkpoint, teacher_cache,
            skip_bad_images, checkpoint_minutes, logs,
        )  # fmt: skip
        if len(asked) == 1 and shard is None:
            (folder,) = train_presets(asked, places, compute, fresh)
            if as_json:
                out.print_json(json.dumps({"run": str(folder.path), **folder.info()}))
        else:
            sweep(asked, places, compute, fresh, as_json)
