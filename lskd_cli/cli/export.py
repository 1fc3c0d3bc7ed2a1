"""The command ``lskd export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.errors import RequestError

if TYPE_CHECKING:
    from lskd_cli.engine.inference.export import ExportCheck
    from lskd_cli.engine.inference.network_cost import NetworkCost

_UNKNOWN_LICENSE = "unknown"


def export(
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
    options.load_model_files(model_files)
    names = options.read_class_names(class_names)
    from lskd_cli.cli.terminal.progress import ProgressBar
    from lskd_cli.config import load_preset
    from lskd_cli.data import load_splits
    from lskd_cli.engine.inference.export import SUFFIXES, export_network
    from lskd_cli.engine.inference.hub_folder import export_folder
    from lskd_cli.engine.inference.network_cost import measure_cost
    from lskd_cli.engine.inference.trained_network import load_student
    from lskd_cli.engine.planning.teacher_files import check_classes
    from lskd_cli.run_info import read_run_info
    from lskd_cli.run_paths import PRESET

    student = load_student(run, weights, "cpu", names)
    data = student.source.data
    with ProgressBar.for_data(data) as bar:
        images = load_splits(data, data_dir, bar, skip_bad_images).test
    check_classes(student.source.checkpoint, images.classes)
    license_ = license_ or student.metadata.get("license")
    if license_ is None:
        info("the licence of the weights is not known; set it with --license")
        license_ = _UNKNOWN_LICENSE
    run_info = read_run_info(run) if run.is_dir() else None
    folder = run if run.is_dir() else run.parent
    if format_ == "hub":
        path = out_path or folder / "hub"
        preset = None
        if (run / PRESET).exists():
            preset = load_preset(run / PRESET, allow_unknown_method=True)
        check = export_folder(student, path, license_, images, preset, run_info)
    else:
        path = out_path or folder / f"export{SUFFIXES[format_]}"
        check = export_network(student, path, format_, license_, images, opset)
    costs = {student.source.model: measure_cost(student.network, student.preprocessing.image_size)}
    costs |= _teacher_cost(run)
    _print(path, check, costs, as_json)
    if format_ == "hub":
        info(f"upload it with: hf upload USER/NAME {path}")


def _teacher_cost(run: Path) -> "dict[str, NetworkCost]":
    """The cost of the teacher of a run; empty if the run has none, or its weights are missing."""
    from lskd_cli.config import load_preset
    from lskd_cli.engine.inference.network_cost import measure_cost
    from lskd_cli.engine.planning.teacher_files import load_teacher
    from lskd_cli.engine.training.initial_weights import load_weights
    from lskd_cli.errors import RunError
    from lskd_cli.run_info import read_run_info
    from lskd_cli.run_paths import PRESET

    run_info = read_run_info(run) if run.is_dir() else None
    if run_info is None or run_info.teacher is None:
        return {}
    preset = load_preset(run / PRESET, allow_unknown_method=True)
    try:
        checkpoint = load_weights(Path(run_info.teacher), preset.teacher)
        network, preprocessing = load_teacher(checkpoint, preset)
    except (RequestError, RunError) as error:
        info(f"the teacher is not measured: {error}")
        return {}
    return {f"{preset.teacher} (teacher)": measure_cost(network, preprocessing.image_size)}


def _print(
    path: Path, check: "ExportCheck", costs: "dict[str, NetworkCost]", as_json: bool
) -> None:
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
