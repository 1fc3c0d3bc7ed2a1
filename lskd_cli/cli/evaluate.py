"""lskd eval."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.console import out, say
from lskd_cli.cli.tables import as_table
from lskd_cli.errors import RequestError
from lskd_cli.results.measurements import lines, side_by_side


def evaluate(
    subjects: Annotated[
        list[Path],
        typer.Argument(metavar="RUN/CHECKPOINT...", help="Runs' folders, or files of weights."),
    ],
    model: Annotated[
        str | None, typer.Option(help="Their network, where a file does not say.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="cifar100, digits, imagenet or imagefolder, where a file does not say."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Compare with this run or checkpoint.")
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="The teacher's network, where its file does not say.")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(help="Of the KL from the teacher; of standardized logits: base temperature."),
    ] = 1.0,
    best: Annotated[
        bool, typer.Option("--best", help="Of runs, the best epoch instead of the last.")
    ] = False,
    data_dir: options.DataDir = options.DATA_DIR,
    skip_bad_images: options.SkipBadImages = False,
    device: options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure networks on the test images: accuracy, calibration, logits, likeness to a teacher.

    Several of them, with their teacher, show whether those that are more like it are the better
    ones: by the KL at a shared temperature, and by that of standardized logits.

    Example: [bold]lskd eval runs/kd-digits/seed0 --teacher runs/teacher-digits/seed0[/]
    """
    if not temperature > 0:
        raise RequestError(f"--temperature {temperature:g}: should be greater than 0")
    from lskd_cli.cli.progress import Bar
    from lskd_cli.engine.device import resolve_compute
    from lskd_cli.engine.evaluation import pairs_in_order
    from lskd_cli.engine.inspect import examine, open_subject

    compute = resolve_compute(device)
    students = [open_subject(path, model, dataset, best, data_dir) for path in subjects]
    reference = None
    if teacher is not None:
        reference = open_subject(teacher, teacher_model, dataset, best, data_dir)
    with Bar.of_data(students[0].data) as bar:
        results = examine(students, reference, data_dir, compute, bar, skip_bad_images, temperature)
    if len(results) == 1:
        if as_json:
            out.print_json(json.dumps(results[0]))
        else:
            table = Table(box=None, show_header=False, pad_edge=False)
            table.add_column(style="bold")
            table.add_column(justify="right", overflow="fold")
            table.add_column(style="dim")
            for line in lines(results[0], temperature):
                table.add_row(*line)
            out.print(table)
        return
    ordered = {}
    if teacher is not None:
        accuracies = [result["top1"] for result in results]
        for key in ("kl", "kl_standardized"):
            divergences = [result[key] for result in results]
            ordered[key], ordered["pairs"] = pairs_in_order(accuracies, divergences)
    if as_json:
        out.print_json(json.dumps({"students": results, "pairs_in_order": ordered}))
        return
    out.print(as_table(side_by_side(results, temperature), out.width))
    if ordered:
        say(
            f"the student of higher accuracy is the one nearer to the teacher in {ordered['kl']} "
            f"of {ordered['pairs']} pairs by the KL at the shared temperature, in "
            f"{ordered['kl_standardized']} by that of standardized logits"
        )
