"""Reading what ``lskd export`` writes: ONNX files, torch.export files, and folders for the Hub."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lskd_cli.checkpoints import Checkpoint, load_safetensors
from lskd_cli.errors import RequestError, first_line
from lskd_cli.models import Network, Output
from lskd_cli.preprocessing import Preprocessing

Run = Callable[[Tensor], Tensor]  # from (B, 3, S, S) normalized images to (B, classes) logits

ONNX, TORCH_EXPORT = ".onnx", ".pt2"  # suffixes
METADATA = "metadata.json"  # in a file of torch.export
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # in a folder for the Hub


class ExportedNetwork(Network):
    """An exported file as a network without features; it runs on the CPU."""

    def __init__(self, run: Run, image_size: int) -> None:
        super().__init__()
        self.run, self.image_size = run, image_size
        self.placeholder = nn.Parameter(torch.empty(0), requires_grad=False)  # has the device

    def forward_features(self, images: Tensor) -> Output:
        return Output(self.run(images.cpu()).to(images.device))

    def enable_features(self) -> bool:
        return False


@dataclass(frozen=True)
class Exported:
    """What an exported file or folder contains.

    Attributes:
        checkpoint: its metadata, and the weights of a folder.
        network: runs a file; None for a folder, whose weights are loaded.
    """

    checkpoint: Checkpoint
    network: Network | None = None


def read_exported(path: Path) -> Exported | None:
    """Read an exported file or folder; None if the path is something else.

    Raises:
        RequestError: it is corrupt or was not written by ``lskd export``, or a package is missing.
    """
    if path.is_dir():
        is_hub_folder = (path / CONFIG).is_file() and (path / WEIGHTS).is_file()
        return Exported(_hub_checkpoint(path)) if is_hub_folder else None
    if path.suffix not in (ONNX, TORCH_EXPORT) or not path.is_file():
        return None
    try:
        run, metadata = run_onnx(path) if path.suffix == ONNX else run_torch_export(path)
        _check_texts(metadata)
    except RequestError:
        raise
    # Both libraries raise exceptions of their own.
    except Exception as error:
        raise RequestError(f"{path}: cannot be read: {first_line(error)}") from None
    if not {"model", "num_classes", "preprocessing"} <= metadata.keys():
        raise RequestError(f"{path}: was not written by 'lskd export'")
    try:
        size = Preprocessing.from_json(metadata["preprocessing"]).image_size
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"{path}: metadata: preprocessing: {error}") from None
    checkpoint = Checkpoint(path, {}, metadata)
    _check_output(checkpoint, run, size)
    return Exported(checkpoint, ExportedNetwork(run, size))


def _check_texts(metadata: Mapping[str, object]) -> None:
    if not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError("a value of its metadata is not a text")


def _check_output(checkpoint: Checkpoint, run: Run, size: int) -> None:
    """Check that an exported network, which another program may have changed, takes batches.

    Raises:
        RequestError: it does not, or has other outputs.
    """
    expected = (2, checkpoint.num_classes())
    try:
        shape = tuple(run(torch.zeros(2, 3, size, size)).shape)
    # Both libraries raise exceptions of their own.
    except Exception as error:
        raise RequestError(
            f"{checkpoint.path}: does not run on float32 images of shape (2, 3, {size}, {size}): "
            f"{first_line(error)}"
        ) from None
    if shape != expected:
        raise RequestError(f"{checkpoint.path}: returns {shape} instead of {expected} logits")


def run_onnx(path: Path) -> tuple[Run, dict[str, str]]:
    """A function that runs an ONNX file, and the metadata of the file."""
    runtime = import_onnx("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return (
        lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
        metadata,
    )


def run_torch_export(path: Path) -> tuple[Run, dict[str, str]]:
    """A function that runs a file of torch.export, and the metadata of the file.

    Such a file can contain code, which PyTorch executes when it loads it.
    """
    files = {METADATA: ""}
    with path.open("rb") as file, quiet():  # of any name
        module = torch.export.load(file, extra_files=files).module()
    # Not the module itself: as a part of a network it would be moved, and refuse eval().
    return lambda images: module(images), json.loads(files[METADATA] or "{}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' messages about conversions and files, which lskd checks itself."""
    loggers = [
        logging.getLogger(name) for name in ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def import_onnx(package: str) -> Any:
    """Import an optional package.

    Raises:
        RequestError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise RequestError(
            f"ONNX: {package} is not installed; run pip install onnx onnxscript onnxruntime"
        ) from None


def _hub_checkpoint(folder: Path) -> Checkpoint:
    """The weights of a folder for the Hub, with the metadata of a weight file of lskd."""
    checkpoint = load_safetensors(folder / WEIGHTS)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if "preprocessing" in config:
            view, model = Preprocessing.from_json(json.dumps(config["preprocessing"])), ""
        else:
            view, model = _timm_preprocessing(config["pretrained_cfg"]), "timm/"
        metadata = {
            "model": model + config["architecture"],
            "num_classes": str(config["num_classes"]),
            "classes": json.dumps(config["label_names"]),
            "preprocessing": view.to_json(),
            "dataset": config.get("dataset", "imagefolder"),
        }
        _check_texts(metadata)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise RequestError(f"{folder / CONFIG}: was not written by 'lskd export'") from None
    return Checkpoint(checkpoint.path, checkpoint.weights, metadata, checkpoint.sha256)


def _timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    view = Preprocessing(
        config["input_size"][1],
        tuple(config["mean"]),
        tuple(config["std"]),
        config["interpolation"],
        config["crop_pct"],
        config["crop_mode"] == "squash",
    )
    return Preprocessing.from_json(view.to_json())  # checks the values
