"""The command ``lskd eval``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.cli.terminal.rich_tables import as_rich_table, plain_text
from lskd_cli.errors import RequestError
from lskd_cli.results.tables.eval_tables import result_lines, result_table
from lskd_cli.run_paths import WeightsName, check_exists

_MIN_TEMPERATURE = 1e-3


def evaluate(
    context: typer.Context,
    networks: Annotated[
        list[Path],
        typer.Argument(metavar="RUN/CHECKPOINT...", help="Run folders or weight files."),
    ],
    model: Annotated[
        str | None, typer.Option(help="Network, if not stored in the checkpoint.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set, if not stored in the checkpoint: cifar100, digits, imagenet, or one of "
            "those of train --dataset."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Compare with this run folder or weight file.")
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="Network of the teacher, if not stored in the checkpoint.")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            help="Temperature of the KL divergence, and base temperature of the standardized one."
        ),
    ] = 1.0,
    weights: options.Weights = "last",
    model_files: options.ModelFiles = None,
    data_dir: options.DataDir = options.DATA_DIR,
    skip_bad_images: options.SkipBadImages = False,
    device: options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate networks on the test images: accuracy, calibration, logits, fidelity to a teacher.

    With several networks and a teacher, it also counts the pairs of students that each KL
    divergence orders as their accuracy does.

    Example: [bold]lskd eval runs/kd-digits/seed0 --teacher runs/teacher-digits/seed0[/]
    """
    if not _MIN_TEMPERATURE <= temperature <= 1 / _MIN_TEMPERATURE:
        raise RequestError(
            f"--temperature {temperature:g}: must be from {_MIN_TEMPERATURE:g} to "
            f"{1 / _MIN_TEMPERATURE:g}"
        )
    options.load_model_files(model_files)
    if teacher is None:
        needs_teacher = ("teacher_model", "temperature")
        options.refuse_options(context, needs_teacher, "only valid with --teacher")
    for path in [*networks, *([teacher] if teacher else [])]:
        check_exists(path)
    data_dir = options.recorded_data_dir(context, networks[0], data_dir)
    from lskd_cli.cli.terminal.progress import ProgressBar
    from lskd_cli.engine.devices.runtime import resolve_runtime
    from lskd_cli.engine.inference.network_evaluation import evaluate_networks
    from lskd_cli.engine.inference.trained_network import load_trained_network

    runtime = resolve_runtime(device)
    students = [load_trained_network(path, model, dataset, weights, data_dir) for path in networks]
    reference = None
    if teacher is not None:
        teacher_weights: WeightsName = "last"
        if weights == "best" and teacher.is_dir():
            teacher_weights = "best"
        reference = load_trained_network(teacher, teacher_model, dataset, teacher_weights, data_dir)
    with ProgressBar.for_data(students[0].data) as bar:
        results = evaluate_networks(
            students, reference, data_dir, runtime, bar, skip_bad_images, temperature
        )
    if len(results) == 1:
        _print_result(results[0], temperature, as_json)
    else:
        _print_results(results, temperature, as_json)


def _print_result(result: dict[str, Any], temperature: float, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    table.add_column(style="dim")
    for line in result_lines(result, temperature):
        table.add_row(*map(plain_text, line))
    out.print(table)


def _print_results(results: list[dict[str, Any]], temperature: float, as_json: bool) -> None:
    from lskd_cli.engine.inference.eval_metrics import concordance

    counts = concordance(results) if "teacher" in results[0] else {}
    if as_json:
        print_json({"students": results, "concordant_pairs": counts})
        return
    out.print(as_rich_table(result_table(results, temperature), out.width, explain=True))
    if counts:
        pairs = counts["pairs"]
        info(
            f"The KL at the shared temperature ranks {counts['kl']} of {pairs} student pairs "
            "in the order of accuracy, the KL of standardized logits "
            f"{counts['kl_standardized']} of {pairs}."
        )
