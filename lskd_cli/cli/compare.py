"""lskd compare."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.console import out, say
from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError
from lskd_cli.results.runs import Run, find_runs
from lskd_cli.results.table import (
    HEADINGS,
    TEXT_FORMATS,
    TEXT_HEADINGS,
    Row,
    as_record,
    caption,
    cells,
    make_rows,
)


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
    seeds: Annotated[str, typer.Option(help="Seeds to train, as 0,1,2.")] = "0",
    format_: Annotated[
        str, typer.Option("--format", help="table, md, latex, csv or json.")
    ] = "table",
    accuracy: options.Accuracy = "best",
    settings: options.Settings = None,
    epochs: options.Epochs = None,
    val_split: options.ValSplit = None,
    teacher_checkpoint: options.TeacherCheckpoint = None,
    data_dir: options.DataDir = options.DATA_DIR,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    fresh: options.Fresh = False,
) -> None:
    """Compare each method with and without standardization, beside the published values.

    With --train, both are trained first, on the same batches, in one pass over one teacher.

    Example: [bold]lskd compare --train --preset kd-digits --seeds 0,1,2[/]
    """
    options.check_one_of("--format", format_, ("table", "json", *TEXT_FORMATS))
    options.check_one_of("--accuracy", accuracy, ("best", "last"))
    if train:
        if not presets:
            raise RequestError("--train: name what to train with --preset")
        if runs:
            raise RequestError(f"{runs[0]}: --train trains presets; leave the run folders out")
        arms = [
            arm
            for name in presets
            for seed in _seeds(seeds)
            for arm in _both(options.requested_preset(name, settings, seed, epochs, val_split))
        ]
        from lskd_cli.cli.training import compute_of, train_presets
        from lskd_cli.engine.training import Places

        places = Places(data_dir, checkpoints_dir, runs_dir, teacher_checkpoint)
        folders = train_presets(arms, places, compute_of(device, precision), fresh)
        found = find_runs(runs_dir, [folder.path for folder in folders], say)
    else:
        found = find_runs(runs_dir, runs or [], say)
        if presets:
            names = {load_preset(name).name for name in presets}
            found = [run for run in found if run.preset.name in names]
    rows = make_rows(found, accuracy)
    _mention_left_out(found)
    if not rows:
        raise RequestError(f"no finished run in {runs_dir}; 'lskd compare --train' makes some")
    if format_ == "json":
        out.print_json(json.dumps([as_record(row, accuracy) for row in rows]))
    elif format_ == "table":
        out.print(_table(rows, accuracy, out.width))
    else:
        print(TEXT_FORMATS[format_](rows, accuracy), end="")  # noqa: T201 (unwrapped)


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise RequestError(f"--seeds {text}: expected whole numbers, as 0,1,2") from None


def _both(preset: Preset) -> list[Preset]:
    """The preset without standardization, and with it where the method has any."""
    if preset.stand is None:
        return [preset]
    return [preset.with_stand(False), preset.with_stand(True)]


def _mention_left_out(runs: Sequence[Run]) -> None:
    unfinished = [str(run.path) for run in runs if not run.finished]
    if unfinished:
        say(f"left out, not finished: {', '.join(unfinished)}")


def _table(rows: Sequence[Row], accuracy: str, width: int) -> Table:
    """The table without columns that say nothing; deviations below their means if it is narrow."""
    texts = [cells(row) for row in rows]
    table = Table(caption=caption(accuracy), header_style="bold", box=SIMPLE_HEAD, padding=(0, 1))
    filled = [index for index in range(len(HEADINGS)) if any(row[index] for row in texts)]
    if len({row.dataset for row in rows}) == 1:
        filled.remove(HEADINGS.index("Data"))
    published = HEADINGS.index("Published")
    for index in filled:
        style = "dim" if index >= published else "green" if HEADINGS[index] == "+Ours" else ""
        table.add_column(
            HEADINGS[index],
            justify="left" if HEADINGS[index] in TEXT_HEADINGS else "right",
            style=style,
        )
    padding = 2 * len(filled)
    needed = padding + sum(max(len(row[i]) for row in [list(HEADINGS), *texts]) for i in filled)
    if needed > width:
        texts = [[text.replace(" ± ", "\n± ") for text in row] for row in texts]
    for row in texts:
        table.add_row(*(row[index] for index in filled))
    return table
