"""What ``lskd eval`` measures: runs and checkpoints on the test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lskd_cli.checkpoints import Checkpoint, load_checkpoint
from lskd_cli.config import Data, load_data, load_preset
from lskd_cli.data import FolderSet, class_names, load_dataset, num_classes
from lskd_cli.download import Progress
from lskd_cli.engine.device import Compute
from lskd_cli.engine.evaluation import calibration_error, likeness, logits_of, scores, spread
from lskd_cli.engine.teacher import check_classes
from lskd_cli.errors import RequestError
from lskd_cli.layout import PRESET, weights_file
from lskd_cli.models import Network, create_model, teacher_size


@dataclass
class Subject:
    """Weights with the network and the data that they belong to."""

    checkpoint: Checkpoint
    model: str
    data: Data

    def network(self) -> Network:
        """The network with these weights, in evaluation mode.

        Raises:
            RequestError: they are another network's.
        """
        return self.checkpoint.network(self.model, num_classes(self.data), self.data.image_size)


def open_subject(
    path: Path, model: str | None, dataset: str | None, best: bool, data_dir: Path
) -> Subject:
    """The weights of a run's folder or of a file.

    Args:
        path: a folder that holds student.safetensors, or a file.
        model: the network; None where the file names it.
        dataset: None takes the file's, or cifar100 where it names none.
        best: of a run, the best epoch instead of the last.
        data_dir: of images in folders, whose classes a file may not tell.

    Raises:
        RequestError: nothing readable is there, or its network is not known.
    """
    path = weights_file(path, best)
    checkpoint = load_checkpoint(path)
    model = model or checkpoint.metadata.get("model")
    if model is None:
        raise RequestError(
            f"{path}: does not say which network it is; add --model NAME, or --teacher-model NAME"
        )
    dataset = dataset or checkpoint.metadata.get("dataset", "cifar100")
    # A run may have been trained on images that were normalized in its own way.
    preset = path.with_name(PRESET)
    if preset.exists():
        data = load_preset(preset, foreign=True).data
    elif dataset == "imagefolder":
        classes = checkpoint.metadata.get("num_classes") or len(class_names(data_dir / "train"))
        data = load_data("imagenet", model)
        with torch.device("meta"):
            own = create_model(model, image_size=teacher_size(model, data.image_size)).image_size
        changes = {"name": dataset, "num_classes": int(classes), "image_size": own}
        data = data.model_copy(update=changes)
    else:
        data = load_data(dataset, model)
    return Subject(checkpoint, model, data)


def examine(
    students: Sequence[Subject],
    teacher: Subject | None,
    data_dir: Path,
    compute: Compute,
    progress: Progress,
    skip_bad: bool = False,
    temperature: float = 1.0,
) -> list[dict[str, Any]]:
    """Accuracy, loss, calibration and logits of each network, and how it relates to its teacher.

    ``students`` are one or more; ``temperature`` is that of the divergence from the teacher.

    Returns:
        For each student what ``scores``, ``calibration_error`` and ``spread`` tell; with a teacher
        also the same of it as teacher_NAME, and ``likeness``.

    Raises:
        RequestError: weights do not fit the network, or two are of different data sets.
    """
    data = students[0].data
    subjects = [*students, *([teacher] if teacher else [])]
    for subject in subjects:
        if subject.data.name != data.name:
            raise RequestError(
                f"{subject.checkpoint.path}: trained on {subject.data.name}, "
                f"{students[0].checkpoint.path} on {data.name}"
            )
    networks = [subject.network() for subject in subjects]
    test = load_dataset(data, data_dir, progress, skip_bad).test.to(compute.device)

    def logits(subject: Subject, network: Network) -> tuple[Tensor, Tensor]:
        if isinstance(test, FolderSet):
            check_classes(subject.checkpoint, test.classes)
        compute.place(network)
        return logits_of(network, test, subject.data)

    of_teacher: dict[str, Any] = {}
    if teacher:
        teacher_logits, targets = logits(teacher, networks.pop())
        measured = _measured(teacher_logits, targets)
        of_teacher = {"teacher": str(teacher.checkpoint.path)}
        of_teacher |= {f"teacher_{name}": value for name, value in measured.items()}
    results = []
    for student, network in zip(students, networks, strict=True):
        of_student, targets = logits(student, network)
        result = {
            "checkpoint": str(student.checkpoint.path),
            "model": student.model,
            "dataset": student.data.name,
            **_measured(of_student, targets),
            "recorded_top1": student.checkpoint.metadata.get("top1"),
            **of_teacher,
        }
        if teacher:
            result |= likeness(of_student, teacher_logits, temperature)
        results.append(result)
    return results


def _measured(logits: Tensor, targets: Tensor) -> dict[str, float]:
    return {
        **scores(logits, targets),
        "calibration_error": calibration_error(logits, targets),
        **spread(logits),
    }
