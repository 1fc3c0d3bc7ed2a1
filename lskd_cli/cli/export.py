"""The command ``lskd export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.errors import RequestError
from lskd_cli.run_paths import check_exists

if TYPE_CHECKING:
    from lskd_cli.engine.inference.export_run import ExportedRun


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or weight file.")],
    format_: Annotated[
        Literal["onnx", "torch-export", "safetensors", "hub"],
        typer.Option("--format", help="hub writes a folder for the Hugging Face Hub."),
    ] = "onnx",
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="File or folder; by default RUN/export.SUFFIX or RUN/hub."),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="SPDX",
            help="Licence of the weights, by default that of the initial weights.",
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(min=1, help="Version of the ONNX operations.")
    ] = None,
    weights: options.Weights = "last",
    class_names: options.ClassNames = None,
    model_files: options.ModelFiles = None,
    data_dir: options.DataDir = options.DATA_DIR,
    skip_bad_images: options.SkipBadImages = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a trained network, and compare the exported file with it on test images.

    The file takes batches of any size, and stores preprocessing, class names and licence.

    Example: [bold]lskd export runs/kd-digits/seed0 --format onnx[/]
    """
    if opset is not None and format_ != "onnx":
        raise RequestError("--opset: only valid with --format onnx")
    if license_ is not None and not license_.isprintable():
        raise RequestError("--license: contains characters that cannot be printed")
    check_exists(run)
    data_dir = options.recorded_data_dir(context, run, data_dir)
    options.load_model_files(model_files)
    names = options.read_class_names(class_names)
    from lskd_cli.cli.terminal.progress import ProgressBar
    from lskd_cli.engine.inference.export_run import export_run
    from lskd_cli.engine.inference.trained_network import load_student

    student = load_student(run, weights, "cpu", names)
    with ProgressBar.for_data(student.data) as bar:
        exported = export_run(
            run, student, format_, out_path, license_, data_dir, bar, info, opset, skip_bad_images
        )
    _print(exported, as_json)
    if format_ == "hub":
        info(f"upload it with: hf upload USER/NAME {exported.path}")


def _print(exported: "ExportedRun", as_json: bool) -> None:
    path, check, costs = exported.path, exported.check, exported.costs
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    if as_json:
        print_json(
            {
                "path": str(path),
                "bytes": size,
                "check": check.__dict__,
                "networks": {name: cost.__dict__ for name, cost in costs.items()},
            }
        )
        return
    info(f"{path}: {size / 1e6:.2f} MB")
    info(
        f"compared on {check.images} test images: logits differ by at most {check.difference:.2g} "
        f"(the largest is {check.largest_logit:.3g}); top-1 {check.top1:.2f} %, that of the "
        f"network {check.network_top1:.2f} %"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("Network")
    threads = next(iter(costs.values())).threads
    for title in ("Parameters", "Multiply-adds", f"CPU latency ({threads} threads)"):
        table.add_column(title, justify="right")
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.multiply_adds / 1e6:.1f} M",
            f"{1e3 * cost.latency:.1f} ms",
        )
    out.print(table)
