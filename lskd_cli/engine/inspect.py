"""What ``lskd eval`` measures: a run or a checkpoint on the test images."""

from dataclasses import dataclass
from pathlib import Path

import torch

from lskd_cli.checkpoints import Checkpoint, load_checkpoint
from lskd_cli.config import Data, load_data, load_preset
from lskd_cli.data import FolderSet, class_names, load_dataset, num_classes
from lskd_cli.download import Progress
from lskd_cli.engine.device import Compute
from lskd_cli.engine.evaluation import calibration_error, likeness, logits_of, scores
from lskd_cli.engine.teacher import check_classes
from lskd_cli.errors import RequestError
from lskd_cli.layout import PRESET, weights_file
from lskd_cli.models import create_model, teacher_size


@dataclass
class Subject:
    """Weights with the network and the data that they belong to."""

    checkpoint: Checkpoint
    model: str
    data: Data


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
        data = load_preset(preset).data
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
    student: Subject,
    teacher: Subject | None,
    data_dir: Path,
    compute: Compute,
    progress: Progress,
    skip_bad: bool = False,
) -> dict[str, float | str | None]:
    """Accuracy, loss and calibration of a network, and how it relates to its teacher.

    Raises:
        RequestError: weights do not fit the network, or the two are of different data sets.
    """
    if teacher and teacher.data.name != student.data.name:
        raise RequestError(
            f"--teacher {teacher.checkpoint.path}: trained on {teacher.data.name}, "
            f"the student on {student.data.name}"
        )
    subjects = [student] + ([teacher] if teacher else [])
    networks = [
        s.checkpoint.network(s.model, num_classes(s.data), s.data.image_size) for s in subjects
    ]
    test = load_dataset(student.data, data_dir, progress, skip_bad).test.to(compute.device)
    logits = []
    for subject, network in zip(subjects, networks, strict=True):
        if isinstance(test, FolderSet):
            check_classes(subject.checkpoint, test.classes)
        compute.place(network)
        of_subject, targets = logits_of(network, test, subject.data)
        logits.append(of_subject)
    result: dict[str, float | str | None] = {
        "checkpoint": str(student.checkpoint.path),
        "model": student.model,
        "dataset": student.data.name,
        **scores(logits[0], targets),
        "calibration_error": calibration_error(logits[0], targets),
        "recorded_top1": student.checkpoint.metadata.get("top1"),
    }
    if teacher:
        result |= {"teacher": str(teacher.checkpoint.path)}
        result |= {"teacher_top1": scores(logits[1], targets)["top1"]}
        result |= likeness(logits[0], logits[1])
    return result
