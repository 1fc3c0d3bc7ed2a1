"""Export of a trained network to one file, which is run and compared before it is kept."""

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lskd_cli.checkpoints import load_safetensors, save_checkpoint
from lskd_cli.data import Images, eval_batches
from lskd_cli.engine.inference.exported import (
    METADATA,
    ONNX,
    TORCH_EXPORT,
    Run,
    import_onnx,
    quiet,
    run_onnx,
    run_torch_export,
)
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.errors import RequestError, RunError, first_line
from lskd_cli.io.atomic import remove_temporary_files, write_atomically
from lskd_cli.io.locks import file_lock
from lskd_cli.preprocessing import Preprocessing

ExportFormat = Literal["onnx", "torch-export", "safetensors"]
SUFFIXES: dict[ExportFormat, str] = {
    "onnx": ONNX,
    "torch-export": TORCH_EXPORT,
    "safetensors": ".safetensors",
}
MAX_IMAGES = 1000  # of the comparison
# Largest difference of a logit from the network's, relative to the largest logit. Other kernels
# round differently; a wrong weight or operation gives differences of about 1.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ExportCheck:
    """How an exported file differs from the network on test images.

    Attributes:
        images: number of test images.
        difference: largest absolute difference of a logit.
        largest_logit: largest absolute logit of the network.
        top1: accuracy of the exported file, percent.
        network_top1: accuracy of the network, percent.
    """

    images: int
    difference: float
    largest_logit: float
    top1: float
    network_top1: float


class _Logits(nn.Module):
    """A network with one named input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


def export_metadata(student: TrainedNetwork, license_: str) -> dict[str, str]:
    """Metadata of an exported file: everything that its user has to know."""
    return {
        **student.metadata,
        "model": student.model,
        "num_classes": str(len(student.class_names)),
        "classes": json.dumps(student.class_names),
        "preprocessing": student.preprocessing.to_json(),
        "license": license_,
    }


def export_network(
    student: TrainedNetwork,
    path: Path,
    format_: ExportFormat,
    license_: str,
    images: Images,
    opset: int | None = None,
) -> ExportCheck:
    """Write a network to a file that takes batches of any size, and compare it on test images.

    Args:
        student: the network on the CPU.
        path: the file, which is replaced only if the comparison succeeds.
        format_: onnx, torch-export or safetensors.
        license_: SPDX identifier of the licence of the weights.
        images: test images, at most ``MAX_IMAGES`` of which are used.
        opset: version of the ONNX operations; None for torch's.

    Raises:
        RequestError: the network cannot be exported, a package is missing, or ``opset`` lacks an
            operation.
        RunError: the file does not give the logits of the network, or cannot be written.
    """
    metadata = export_metadata(student, license_)
    checks: list[ExportCheck] = []

    def write(temporary: Path) -> None:
        if format_ == "onnx":
            _write_onnx(student, temporary, metadata, opset)
        elif format_ == "torch-export":
            _write_torch_export(student, temporary, metadata)
        else:
            save_checkpoint(temporary, student.network.state_dict(), metadata)
        checks.append(check_export(student, load_exported(temporary, format_), images))

    with locked_output(path):
        write_atomically(path, write)
    return checks[0]


@contextmanager
def locked_output(path: Path) -> Iterator[None]:
    """Wait for other exports to a path, and remove what killed ones have left.

    Raises:
        RequestError: the path is empty, or something else than a file or folder.
        RunError: its folder cannot be written.
    """
    if path.name == "" or (path.exists() and not (path.is_file() or path.is_dir())):
        raise RequestError(f"--out {path}: must be the path of a file or folder")
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, wait=True))
        except OSError as error:
            raise RunError(f"{path.parent}: cannot be written: {error.strerror}") from None
        remove_temporary_files(path.parent, path.name)
        yield


def load_exported(path: Path, format_: ExportFormat) -> Run:
    """A function that runs an exported file."""
    if format_ == "onnx":
        return run_onnx(path)[0]
    if format_ == "torch-export":
        return run_torch_export(path)[0]
    checkpoint = load_safetensors(path)
    stored = checkpoint.metadata
    size = Preprocessing.from_json(stored["preprocessing"]).image_size
    return checkpoint.load_network(stored["model"], int(stored["num_classes"]), size)


@torch.inference_mode()
def check_export(student: TrainedNetwork, run: Run, images: Images) -> ExportCheck:
    """Compare an exported network with the original on test images.

    Raises:
        RunError: the logits differ.
    """
    indices = np.unique(np.linspace(0, len(images) - 1, MAX_IMAGES).astype(int))
    difference, largest, correct, own_correct, count = 0.0, 0.0, 0, 0, 0
    for batch, targets in eval_batches(images.subset(indices), student.preprocessing):
        expected, found = student.network(batch), run(batch)
        if not bool(found.isfinite().all()):
            raise RunError("the exported network gives logits that are not finite")
        difference = max(difference, float((found - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
        correct += int((found.argmax(1) == targets).sum())
        own_correct += int((expected.argmax(1) == targets).sum())
        count += len(targets)
    if not difference <= _TOLERANCE * largest:
        raise RunError(
            f"the exported network gives other logits (by up to {difference:.3g}, where the "
            f"largest is {largest:.3g}); nothing is written"
        )
    return ExportCheck(count, difference, largest, 100 * correct / count, 100 * own_correct / count)


def _example(student: TrainedNetwork) -> tuple[Tensor]:
    size = student.preprocessing.image_size
    return (torch.zeros(2, 3, size, size),)  # with one image, the batch size would be a constant


def _dynamic_batch() -> dict[str, Any]:
    return {"images": {0: torch.export.Dim("batch")}}


def _write_onnx(
    student: TrainedNetwork, path: Path, metadata: dict[str, str], opset: int | None
) -> None:
    onnx = import_onnx("onnx")
    import_onnx("onnxscript")
    import_onnx("onnxruntime")
    with quiet(), _export_errors(student):
        program = torch.onnx.export(
            _Logits(student.network).eval(),
            _example(student),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=_dynamic_batch(),
            opset_version=opset,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset is not None and version != opset:
        raise RequestError(
            f"--opset {opset}: does not have all operations of {student.model}; use --opset "
            f"{version}"
        )
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _write_torch_export(student: TrainedNetwork, path: Path, metadata: dict[str, str]) -> None:
    with quiet(), _export_errors(student):
        program = torch.export.export(
            _Logits(student.network).eval(), _example(student), dynamic_shapes=_dynamic_batch()
        )
        content = io.BytesIO()  # on a full disk, torch itself aborts the process
        torch.export.save(program, content, extra_files={METADATA: json.dumps(metadata)})
    path.write_bytes(content.getbuffer())


@contextmanager
def _export_errors(student: TrainedNetwork) -> Iterator[None]:
    try:
        yield
    # The exporters raise many types, with explanations of many lines.
    except Exception as error:
        raise RequestError(f"{student.model}: cannot be exported: {first_line(error)}") from error
