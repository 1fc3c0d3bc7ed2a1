"""Export of a run: the file or folder, its comparison, and the cost of student and teacher."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lskd_cli.checkpoints import check_classes, load_weights
from lskd_cli.config import Preset, load_preset
from lskd_cli.data import load_splits
from lskd_cli.engine.inference.export import SUFFIXES, ExportCheck, export_network
from lskd_cli.engine.inference.hub_folder import export_folder
from lskd_cli.engine.inference.network_cost import NetworkCost, measure_cost
from lskd_cli.engine.inference.trained_network import TrainedNetwork, trained_teacher
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.download import Progress
from lskd_cli.run_info import read_run_info
from lskd_cli.run_paths import PRESET

_UNKNOWN_LICENSE = "unknown"


@dataclass(frozen=True)
class ExportedRun:
    """An exported network.

    Attributes:
        path: the file or folder.
        check: its comparison with the network.
        costs: size and speed of the student and, if its weights exist, of the teacher.
    """

    path: Path
    check: ExportCheck
    costs: dict[str, NetworkCost]


def export_run(
    run: Path,
    student: TrainedNetwork,
    format_: Literal["onnx", "torch-export", "safetensors", "hub"],
    out: Path | None,
    license_: str | None,
    data_dir: Path,
    progress: Progress,
    warn: Callable[[str], None],
    opset: int | None = None,
    skip_bad: bool = False,
) -> ExportedRun:
    """Export a trained network, and compare the result with it on test images.

    Args:
        run: run folder or weight file of the network.
        student: the network on the CPU.
        format_: hub writes a folder for the Hugging Face Hub.
        out: file or folder; None for one in the run folder.
        license_: SPDX identifier of the licence of the weights; None for that in their metadata.
        data_dir: folder of the data sets.
        progress: progress of loading the images.
        warn: called if the licence is unknown, or the teacher cannot be measured.
        opset: version of the ONNX operations; None for torch's.
        skip_bad: leave out images that cannot be decoded.

    Raises:
        RequestError: the network cannot be exported, or images or packages are missing.
        RunError: the result gives other logits, or cannot be written.
    """
    if student.exported is not None:
        raise RequestError(f"{run}: is already exported; give the run folder or its weights")
    images = load_splits(student.data, data_dir, progress, skip_bad).test
    check_classes(student.checkpoint, images.classes)
    license_ = license_ or student.metadata.get("license")
    if license_ is None:
        warn("the licence of the weights is not known; set it with --license")
        license_ = _UNKNOWN_LICENSE
    info = read_run_info(run) if run.is_dir() else None
    preset: Preset | None = None
    if (run / PRESET).exists():
        preset = load_preset(run / PRESET, allow_unknown_method=True)
    folder = run if run.is_dir() else run.parent
    if format_ == "hub":
        path = out or folder / "hub"
        check = export_folder(student, path, license_, images, preset, info)
    else:
        path = out or folder / f"export{SUFFIXES[format_]}"
        check = export_network(student, path, format_, license_, images, opset)
    costs = {student.model: _cost(student)}
    if preset is not None and info is not None and info.teacher is not None:
        try:
            for name, file in zip(preset.teacher_names, info.teacher.split(" + "), strict=True):
                teacher = trained_teacher(load_weights(Path(file), name), preset.with_teacher(name))
                costs[f"{name} (teacher)"] = _cost(teacher)
        except (RequestError, RunError, ValueError) as error:
            warn(f"the teacher is not measured: {error}")
    return ExportedRun(path, check, costs)


def _cost(trained: TrainedNetwork) -> NetworkCost:
    return measure_cost(trained.network, trained.preprocessing.image_size)
