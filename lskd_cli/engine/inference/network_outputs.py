"""Evaluation of saved networks on test images, for ``lskd eval`` and the figures of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import BUILTIN_DATASETS, Data, check_dataset, load_data, load_preset
from lskd_cli.data import Images, identify_images, load_splits, num_classes
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.eval_metrics import (
    accuracy_and_loss,
    concordance,
    expected_calibration_error,
    fidelity,
    logit_stats,
)
from lskd_cli.engine.inference.evaluation import predict
from lskd_cli.engine.planning.teacher_files import check_classes
from lskd_cli.engine.training.initial_weights import load_weights
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress
from lskd_cli.models import PRETRAINED, Network, Output, create_model, teacher_image_size
from lskd_cli.network_outputs import NetworkOutputs, OutputSet, Role
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.run_paths import PRESET, WeightsName, weights_file
from lskd_cli.zscore import standardize

MAX_IMAGES = 12_800  # of a report's figures


@dataclass
class EvalModel:
    """Saved weights with their network and data settings."""

    checkpoint: Checkpoint
    model: str
    data: Data

    @property
    def num_classes(self) -> int:
        """Number of classes of the weights."""
        stored = self.checkpoint.metadata.get("num_classes", "")
        return int(stored) if stored.isdecimal() else num_classes(self.data)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for these weights.

        Raises:
            RequestError: the metadata of the weights is corrupt.
        """
        return self.checkpoint.preprocessing(self.model, self.data, self.data.image_size)

    def load_network(self) -> Network:
        """The network with these weights, in evaluation mode.

        Raises:
            RequestError: the weights belong to another network.
        """
        size = self.preprocessing.image_size
        return self.checkpoint.load_network(self.model, self.num_classes, size)


@dataclass
class OutputSource:
    """A network whose outputs a figure draws; the attributes are those of ``NetworkOutputs``."""

    name: str
    run: str
    role: Role
    model: EvalModel


def load_eval_model(
    path: Path, model: str | None, dataset: str | None, weights: WeightsName, data_dir: Path
) -> EvalModel:
    """Load the weights of a run folder or of a file.

    Args:
        path: a run folder, or a file.
        model: the network; None if it is stored in the checkpoint.
        dataset: the data set; None for the one stored in the checkpoint, or else cifar100.
        weights: which weights of a run.
        data_dir: image folder, whose classes the checkpoint may not store.

    Raises:
        RequestError: the weights cannot be read, or their network is unknown.
    """
    is_pretrained = str(path) == PRETRAINED
    if is_pretrained and model is None:
        raise RequestError(f"{path}: add --model NAME, or --teacher-model NAME")
    if not is_pretrained:
        path = weights_file(path, weights)
    checkpoint = load_weights(path, model)
    model = model or checkpoint.metadata.get("model")
    if model is None:
        raise RequestError(
            f"{path}: the checkpoint does not store its network; add --model NAME, or "
            "--teacher-model NAME"
        )
    default = "imagenet" if is_pretrained else checkpoint.metadata.get("dataset", "cifar100")
    dataset = dataset or default
    check_dataset("--dataset", dataset)
    # A run may have its own normalization.
    preset = path.with_name(PRESET)
    if preset.exists() and not is_pretrained:
        data = load_preset(preset, allow_unknown_method=True).data
    elif dataset not in BUILTIN_DATASETS:
        stored = checkpoint.metadata.get("num_classes")
        classes = stored or len(identify_images(dataset, data_dir).classes)
        data = load_data("imagenet", model)
        with torch.device("meta"):
            size = teacher_image_size(model, data.image_size)
            image_size = create_model(model, image_size=size).image_size
        update = {"name": dataset, "num_classes": int(classes), "image_size": image_size}
        data = data.model_copy(update=update)
    else:
        data = load_data(dataset, model)
    return EvalModel(checkpoint, model, data)


def evaluate_models(
    students: Sequence[EvalModel],
    teacher: EvalModel | None,
    data_dir: Path,
    runtime: Runtime,
    progress: Progress,
    skip_bad: bool = False,
    temperature: float = 1.0,
) -> list[dict[str, Any]]:
    """Accuracy, loss, calibration and logit statistics of networks, and fidelity to a teacher.

    Args:
        students: at least one network.
        teacher: reference of the fidelity metrics.
        data_dir: folder of the data sets.
        runtime: device.
        progress: progress of the preparation of the images.
        skip_bad: leave out images that cannot be decoded.
        temperature: temperature of the divergence from the teacher.

    Returns:
        For each student the results of ``accuracy_and_loss``, ``expected_calibration_error`` and
        ``logit_stats``; with a teacher also its own as teacher_NAME, and ``fidelity``.

    Raises:
        RequestError: weights do not fit their network, or two networks have different data sets.
    """
    models = [*([teacher] if teacher else []), *students]
    first = students[0]
    for model in models:
        if model.data.name != first.data.name:
            raise RequestError(
                f"{model.checkpoint.path}: trained on {model.data.name}, but "
                f"{first.checkpoint.path} on {first.data.name}"
            )
    images = load_splits(first.data, data_dir, progress, skip_bad).test.to(runtime.device)
    results = []
    teacher_logits: Tensor | None = None
    teacher_result: dict[str, Any] = {}
    for model, output, targets in _run_models(models, images, runtime):
        metrics = _metrics(output.logits, targets)
        if teacher is not None and teacher_logits is None:
            teacher_logits = output.logits
            teacher_result = {"teacher": str(model.checkpoint.path)}
            teacher_result |= {f"teacher_{name}": value for name, value in metrics.items()}
            continue
        result = {
            "checkpoint": str(model.checkpoint.path),
            "model": model.model,
            "dataset": model.data.name,
            **metrics,
            "recorded_top1": model.checkpoint.metadata.get("top1"),
            **teacher_result,
        }
        if teacher_logits is not None:
            result |= fidelity(output.logits, teacher_logits, temperature)
        results.append(result)
    return results


def compute_outputs(
    sources: Sequence[OutputSource],
    data_dir: Path,
    runtime: Runtime,
    progress: Progress,
    temperature: float,
    sample: int,
) -> OutputSet:
    """Outputs of networks on up to 12,800 evenly spaced test images.

    Args:
        sources: the teacher, then its students.
        data_dir: folder of the data sets; images that cannot be decoded are left out.
        runtime: device.
        progress: progress of the preparation of the images.
        temperature: temperature of the divergences from the teacher.
        sample: index of a test image that is included if it exists.

    Raises:
        RequestError: weights do not fit their networks, or there are no images.
        RunError: a download failed.
    """
    test = load_splits(sources[0].model.data, data_dir, progress, skip_bad=True).test
    count = min(len(test), MAX_IMAGES)
    indices = np.unique(np.linspace(0, len(test) - 1, count).astype(int))
    if 0 <= sample < len(test):
        indices = np.union1d(indices, [sample])
    images = test.subset(indices).to(runtime.device)
    networks: list[NetworkOutputs] = []
    students: list[dict[str, float]] = []
    teacher_logits: Tensor | None = None
    results = _run_models([source.model for source in sources], images, runtime)
    for source, (_, output, targets) in zip(sources, results, strict=True):
        metrics = accuracy_and_loss(output.logits, targets)
        if teacher_logits is None:
            teacher_logits = output.logits
        else:
            metrics |= fidelity(output.logits, teacher_logits, temperature)
            students.append(metrics)
        networks.append(
            NetworkOutputs(
                source.name,
                source.run,
                source.role,
                metrics["top1"],
                output.logits.cpu().numpy(),
                standardize(output.logits).cpu().numpy(),
                None if output.pooled is None else output.pooled.cpu().numpy(),
                metrics.get("kl"),
                metrics.get("kl_standardized"),
            )
        )
    counts = concordance(students)
    concordant = (counts["kl"], counts["kl_standardized"], counts["pairs"])
    return OutputSet(indices, targets.cpu().numpy(), networks, temperature, concordant)


def _run_models(
    models: Sequence[EvalModel], images: Images, runtime: Runtime
) -> Iterator[tuple[EvalModel, Output, Tensor]]:
    """Every model with its outputs for the images and their class indices, one at a time."""
    # All weights are checked before the first network runs.
    networks = [model.load_network() for model in models]
    for model in models:
        if images.classes:
            check_classes(model.checkpoint, images.classes)
    for model, network in zip(models, networks, strict=True):
        runtime.to_device(network)
        output, targets = predict(network, images, model.preprocessing)
        yield model, output, targets


def _metrics(logits: Tensor, targets: Tensor) -> dict[str, float]:
    return {
        **accuracy_and_loss(logits, targets),
        "ece": expected_calibration_error(logits, targets),
        **logit_stats(logits),
    }
