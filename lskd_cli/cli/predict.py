"""The command ``lskd predict``."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.printable import printable_line
from lskd_cli.run_paths import check_exists

_MAX_REPORTED = 10  # unreadable files that are named


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or weight file.")],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE/FOLDER...", help="Images, or folders that contain images."),
    ],
    top_k: Annotated[int, typer.Option(min=1, help="Number of classes for each image.")] = 5,
    format_: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="Format of the output.")
    ] = "table",
    weights: options.Weights = "last",
    class_names: options.ClassNames = None,
    model_files: options.ModelFiles = None,
    device: options.Device = "auto",
) -> None:
    """Predict the classes of images with a trained network.

    Folders are searched for images in all subfolders. Files that cannot be read are reported and
    left out.

    Example: [bold]lskd predict runs/kd-own/seed0 photos --format csv[/]
    """
    check_exists(run)
    options.load_model_files(model_files)
    names = options.read_class_names(class_names)
    from lskd_cli.cli.terminal.progress import ProgressBar
    from lskd_cli.data.sets.image_formats import ImageFilter
    from lskd_cli.engine.inference.prediction import find_images, predict_files
    from lskd_cli.engine.inference.trained_network import load_student

    student = load_student(run, weights, device, names)
    is_image = ImageFilter()
    total = sum(1 for _ in find_images(images, is_image, info))
    if total == 0:
        raise RequestError(f"{', '.join(map(str, images))}: contains no images")
    bad: list[str] = []

    def results() -> Iterator[tuple[Path, list[Any]]]:
        done = 0
        with ProgressBar("predicting", in_bytes=False) as bar:
            for batch in predict_files(student, find_images(images, ImageFilter()), top_k):
                for item in batch:
                    if item.error is None:
                        yield item.path, item.predictions
                    else:
                        bad.append(f"{printable_line(str(item.path))}: {item.error}")
                done += len(batch)
                bar(done, total)

    _WRITERS[format_](results())
    for line in is_image.describe():
        info(line)
    for line in bad[:_MAX_REPORTED]:
        info(f"left out: {line}")
    if bad:
        info(f"{len(bad)} of {total} images could not be read")
    if len(bad) == total:
        raise RunError("no image could be read")


def _write_csv(results: Iterator[tuple[Path, list[Any]]]) -> None:
    """One row for each image and class, in UTF-8; names of files may be no text."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "rank", "class", "probability"])
    for path, predictions in results:
        for rank, (name, probability) in enumerate(predictions, start=1):
            writer.writerow([path, rank, name, f"{probability:.6g}"])


def _write_json(results: Iterator[tuple[Path, list[Any]]]) -> None:
    """A list with one object on a line for each image, written while it is computed."""
    separator = "["
    for path, predictions in results:
        classes = [{"class": name, "probability": p} for name, p in predictions]
        entry = json.dumps({"image": str(path), "predictions": classes})
        sys.stdout.write(f"{separator}\n{entry}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def _write_table(results: Iterator[tuple[Path, list[Any]]]) -> None:
    """One line for each image, written while it is computed."""
    width = 0
    for path, predictions in results:
        image = printable_line(str(path))
        width = max(width, len(image))
        classes = "  ".join(f"{printable_line(name)} {100 * p:.1f} %" for name, p in predictions)
        sys.stdout.write(f"{image:<{width}}  {classes}\n")


_WRITERS = {"csv": _write_csv, "json": _write_json, "table": _write_table}
