"""lskd eval."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.console import out


def evaluate(
    subject: Annotated[
        Path, typer.Argument(metavar="RUN/CHECKPOINT", help="A run's folder, or a file of weights.")
    ],
    model: Annotated[
        str | None, typer.Option(help="Its network, where the file does not say.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="cifar100, digits, imagenet or imagefolder, where the file does not say."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Compare with this run or checkpoint.")
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="The teacher's network, where its file does not say.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Of a run, the best epoch instead of the last.")
    ] = False,
    data_dir: options.DataDir = options.DATA_DIR,
    skip_bad_images: options.SkipBadImages = False,
    device: options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a network on the test images: accuracy, loss, calibration, likeness to a teacher.

    Example: [bold]lskd eval runs/kd-digits/seed0 --teacher runs/teacher-digits/seed0[/]
    """
    from lskd_cli.cli.progress import Bar
    from lskd_cli.engine.device import resolve_compute
    from lskd_cli.engine.inspect import examine, open_subject

    compute = resolve_compute(device)
    student = open_subject(subject, model, dataset, best, data_dir)
    reference = None
    if teacher is not None:
        reference = open_subject(teacher, teacher_model, dataset, best, data_dir)
    with Bar.of_data(student.data) as bar:
        result = examine(student, reference, data_dir, compute, bar, skip_bad_images)
    if as_json:
        out.print_json(json.dumps(result))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    table.add_column(style="dim")
    for key, value in result.items():
        label, form, unit = _ROWS.get(key, (key, "", ""))
        table.add_row(label, format(value, form) if value is not None else "", unit)
    out.print(table)


_ROWS = {
    "checkpoint": ("checkpoint", "", ""),
    "model": ("network", "", ""),
    "dataset": ("test images of", "", ""),
    "top1": ("top-1", ".2f", "%"),
    "top5": ("top-5", ".2f", "%"),
    "loss": ("cross entropy", ".4f", "nats"),
    "calibration_error": ("expected calibration error", ".2f", "% (15 bins)"),
    "recorded_top1": ("top-1 in the file's metadata", "", "%"),
    "teacher": ("teacher", "", ""),
    "teacher_top1": ("teacher's top-1", ".2f", "%"),
    "agreement": ("same answer as the teacher", ".2f", "%"),
    "kl": ("KL from the teacher", ".4f", "nats at temperature 1"),
    "kl_standardized": ("KL of standardized logits", ".4f", "nats at base temperature 1"),
}
