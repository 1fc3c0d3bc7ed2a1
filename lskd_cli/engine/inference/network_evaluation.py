"""Evaluation of saved networks on test images, for ``lskd eval`` and the figures of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lskd_cli.checkpoints import check_classes
from lskd_cli.data import Images, load_splits
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.eval_metrics import (
    accuracy_and_loss,
    concordance,
    expected_calibration_error,
    fidelity,
    logit_stats,
)
from lskd_cli.engine.inference.evaluation import predict
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.errors import RequestError
from lskd_cli.io.download import Progress
from lskd_cli.models import Output
from lskd_cli.network_outputs import NetworkOutputs, OutputSet, Role
from lskd_cli.zscore import standardize

MAX_IMAGES = 12_800  # of a report's figures


@dataclass
class OutputSource:
    """A network whose outputs a figure draws; the attributes are those of ``NetworkOutputs``."""

    name: str
    run: str
    role: Role
    network: TrainedNetwork


def evaluate_networks(
    students: Sequence[TrainedNetwork],
    teacher: TrainedNetwork | None,
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
        progress: progress of loading the images.
        skip_bad: leave out images that cannot be decoded.
        temperature: temperature of the divergence from the teacher.

    Returns:
        For each student the results of ``accuracy_and_loss``, ``expected_calibration_error`` and
        ``logit_stats``; with a teacher also its own as teacher_NAME, and ``fidelity``.

    Raises:
        RequestError: weights do not fit their network, or two networks have different data sets.
    """
    networks = [*([teacher] if teacher else []), *students]
    first = students[0]
    for network in networks:
        if network.data.name != first.data.name:
            raise RequestError(
                f"{network.checkpoint.path}: trained on {network.data.name}, but "
                f"{first.checkpoint.path} on {first.data.name}"
            )
    images = load_splits(first.data, data_dir, progress, skip_bad).test.to(runtime.device)
    results = []
    teacher_logits: Tensor | None = None
    teacher_result: dict[str, Any] = {}
    for network, output, targets in _run_networks(networks, images, runtime):
        metrics = _metrics(output.logits, targets)
        if teacher is not None and teacher_logits is None:
            teacher_logits = output.logits
            teacher_result = {"teacher": str(network.checkpoint.path)}
            teacher_result |= {f"teacher_{name}": value for name, value in metrics.items()}
            continue
        result = {
            "checkpoint": str(network.checkpoint.path),
            "model": network.model,
            "dataset": network.data.name,
            **metrics,
            "recorded_top1": network.metadata.get("top1"),
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
        progress: progress of loading the images.
        temperature: temperature of the divergences from the teacher.
        sample: index of a test image that is included if it exists.

    Raises:
        RequestError: weights do not fit their networks, or there are no images.
        RunError: a download failed.
    """
    test = load_splits(sources[0].network.data, data_dir, progress, skip_bad=True).test
    count = min(len(test), MAX_IMAGES)
    indices = np.unique(np.linspace(0, len(test) - 1, count).astype(int))
    if 0 <= sample < len(test):
        indices = np.union1d(indices, [sample])
    images = test.subset(indices).to(runtime.device)
    networks: list[NetworkOutputs] = []
    students: list[dict[str, float]] = []
    teacher_logits: Tensor | None = None
    results = _run_networks([source.network for source in sources], images, runtime)
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


def _run_networks(
    networks: Sequence[TrainedNetwork], images: Images, runtime: Runtime
) -> Iterator[tuple[TrainedNetwork, Output, Tensor]]:
    """Every network with its outputs for the images and their class indices, one at a time."""
    # All weights are checked before the first network runs.
    data = networks[0].data
    for trained in networks:
        if trained.num_classes != data.class_count:
            raise RequestError(
                f"{trained.checkpoint.path}: has {trained.num_classes} classes, but {data.name} "
                f"has {data.class_count}; --dataset selects other images"
            )
        trained.network  # noqa: B018 (loads it)
        if images.classes:
            check_classes(trained.checkpoint, images.classes)
    for trained in networks:
        network = trained.to(runtime).network
        output, targets = predict(network, images, trained.preprocessing)
        yield trained, output, targets


def _metrics(logits: Tensor, targets: Tensor) -> dict[str, float]:
    return {
        **accuracy_and_loss(logits, targets),
        "ece": expected_calibration_error(logits, targets),
        **logit_stats(logits),
    }
