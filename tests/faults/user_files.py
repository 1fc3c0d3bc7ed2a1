"""Malformed images, archives and tables of custom data, and malformed exported networks."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from lskd_cli.config import Data, load_preset
from lskd_cli.data import load_splits
from lskd_cli.data.sets.image_formats import ImageFilter
from lskd_cli.engine.inference.export_run import export_run
from lskd_cli.engine.inference.prediction import find_images, predict_files
from lskd_cli.engine.inference.trained_network import load_student
from tests.engine.helpers import digits_preset, run_path, silent, train
from tests.faults.mutation import check, mutations
from tests.faults.outcome import Outcome
from tests.image_folders import make_folder
from tests.workers import run_lskd, start

_PER_FILE = 60
_KILLS = 8
_MAX_EXPORT_SECONDS = 8
_EXPORTED: dict[Literal["onnx", "torch-export", "safetensors", "hub"], str] = {
    "onnx": "network.onnx",
    "torch-export": "network.pt2",
    "safetensors": "network.safetensors",
    "hub": "hub",
}
_FORMATS = {"PNG": "RGB", "JPEG": "RGB", "GIF": "P", "BMP": "RGB", "TIFF": "I;16", "WEBP": "RGB"}


def run(root: Path) -> list[Outcome]:
    """Read mutated files with every reader, with ``predict`` and after an export."""
    train([digits_preset(epochs=1)], root)
    trained = run_path(root, digits_preset())
    return [
        _custom_data(root),
        _predicted_images(root, trained),
        _exported(root, trained),
        _killed_exports(root, trained),
    ]


def _load(kind: str, folder: Path) -> None:
    data: Data = load_preset("teacher-imagenet-resnet34").data
    changes = {"name": kind, "num_classes": 3, "image_size": 32}
    splits = load_splits(data.model_copy(update=changes), folder, silent, skip_bad=True)
    for images in (splits.train, splits.test):
        for index in range(len(images)) if hasattr(images, "load_image") else ():
            images.load_image(index)


def _custom_data(root: Path) -> Outcome:
    outcome = Outcome(
        "a mutated image, archive or table of custom data", "the images, or one line, within 10 s"
    )
    folder = make_folder(root / "own", train=3, val=1, classes=3, size=(32, 24))
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}.tar", "w") as archive:
            archive.add(folder / split, split)
        files = sorted((folder / split).glob("*/*"))
        rows = [f"{file.relative_to(folder)},{file.parent.name}\n" for file in files]
        (folder / f"{split}.csv").write_text("path,label\n" + "".join(rows))
    pixels = np.zeros((6, 28, 28), np.uint8)
    arrays = {f"{split}_images": pixels for split in ("train", "test")}
    labels = {f"{split}_labels": np.arange(6) % 3 for split in ("train", "test")}
    np.savez(folder / "own.npz", **arrays, **labels)  # type: ignore[arg-type]
    image = folder / "train" / "class00" / "0.jpeg"
    for kind, file in (
        ("imagefolder", image),
        ("tar", folder / "train.tar"),
        ("csv", folder / "train.csv"),
        ("npz", folder / "own.npz"),
    ):
        content = file.read_bytes()
        where = file if kind == "npz" else folder
        for index, changed in enumerate(mutations(content, _PER_FILE)):
            file.write_bytes(changed)
            check(outcome, f"{kind} {index}", lambda k=kind, w=where: _load(k, w))  # type: ignore[misc]
        file.write_bytes(content)
    return outcome


def _predicted_images(root: Path, trained: Path) -> Outcome:
    outcome = Outcome("predict: a mutated image", "its classes, or why it is left out, within 10 s")
    student = load_student(trained)
    photos = root / "photos"
    photos.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (20, 20, 3))

    def predict() -> None:
        batches = list(predict_files(student, find_images([photos], ImageFilter()), 3))
        found = [prediction for batch in batches for prediction in batch]
        assert len(found) == 1, "not one prediction for each image"
        assert found[0].error or len(found[0].predictions) == 3, "neither classes nor a reason"

    for format_, mode in _FORMATS.items():
        gray = mode.startswith("I")
        pixels = (values[..., 0] * 257).astype(np.uint16) if gray else values.astype(np.uint8)
        image = Image.fromarray(pixels)
        buffer = io.BytesIO()
        (image if gray else image.convert(mode)).save(buffer, format_)
        file = photos / f"image.{format_.lower()}"
        for index, changed in enumerate(mutations(buffer.getvalue(), _PER_FILE)):
            file.write_bytes(changed)
            check(outcome, f"{format_} {index}", predict)
        file.unlink()
    return outcome


def _exported(root: Path, trained: Path) -> Outcome:
    outcome = Outcome("a mutated exported network", "logits, or one line, within 10 s")
    student = load_student(trained)
    size = student.preprocessing.image_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    for format_, name in _EXPORTED.items():
        path = root / "exported" / name
        export_run(trained, student, format_, path, "mit", root, silent, silent)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            content = file.read_bytes()

            def load(path: Path = path) -> None:
                found = load_student(path)
                assert found.logits(images).shape == (2, len(found.class_names)), "other classes"

            for index, changed in enumerate(mutations(content, _PER_FILE)):
                file.write_bytes(changed)
                check(outcome, f"{format_} {file.name} {index}", load)
            file.write_bytes(content)
    return outcome


def _killed_exports(root: Path, trained: Path) -> Outcome:
    outcome = Outcome(
        "kill -9 at a random moment of an export", "the next export leaves the whole file alone"
    )
    chance = np.random.default_rng(0)
    for format_, name in _EXPORTED.items():
        folder = root / "killed" / format_
        command = ("export", str(trained), "--format", format_, "--out", str(folder / name))
        for number in range(_KILLS):
            process = start(run_lskd, *command, out=root / "out", err=root / "err")
            process.join(timeout=float(chance.uniform(0, _MAX_EXPORT_SECONDS)))
            process.kill()
            process.join()
            (root / "err").unlink(missing_ok=True)
            again = start(run_lskd, *command, out=root / "out", err=root / "err")
            again.join()
            # A folder that was complete before the kill is not replaced.
            is_kept = ": exists; remove it" in (root / "err").read_text()
            left = sorted(file.name for file in folder.glob("*"))
            is_right = (again.exitcode == 0 or is_kept) and left == [name]
            outcome.check(f"{format_} {number}: {left}", is_right)
            shutil.rmtree(folder, ignore_errors=True)
    return outcome
