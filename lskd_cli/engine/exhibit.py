"""Logits and features of test images from the weights of a teacher and its students."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lskd_cli.data import FolderSet, Images, load_dataset, whole_images
from lskd_cli.download import Progress
from lskd_cli.engine.device import Compute, float32_products
from lskd_cli.engine.evaluation import likeness, pairs_in_order, scores
from lskd_cli.engine.inspect import Subject
from lskd_cli.engine.teacher import check_classes
from lskd_cli.models import Network
from lskd_cli.outputs import Exhibit, Kind, Outputs
from lskd_cli.zscore import standardize

IMAGES = 12_800  # at most


@dataclass
class Exhibited:
    """A network that is looked at; the attributes are those of ``Outputs``."""

    name: str
    run: str
    kind: Kind
    subject: Subject


def exhibit(
    shown: Sequence[Exhibited],
    data_dir: Path,
    compute: Compute,
    progress: Progress,
    temperature: float,
    sample: int,
) -> Exhibit:
    """What networks say of test images, of many evenly chosen ones.

    Args:
        shown: the teacher, then its students.
        data_dir: of the images; what cannot be decoded is left out.
        compute: where.
        progress: of getting the images ready.
        temperature: of the divergences from the teacher.
        sample: an image that is wanted among them, if there is one of this number.

    Raises:
        RequestError: weights do not fit their networks, or there are no images.
        RunError: a download failed.
    """
    test = load_dataset(shown[0].subject.data, data_dir, progress, skip_bad=True).test
    places = np.unique(np.linspace(0, len(test) - 1, min(len(test), IMAGES)).astype(int))
    if 0 <= sample < len(test):
        places = np.union1d(places, [sample])
    test = test.take(places).to(compute.device)
    networks: list[Outputs] = []
    of_teacher = None
    for one in shown:
        subject = one.subject
        if isinstance(test, FolderSet):
            check_classes(subject.checkpoint, test.classes)
        network = subject.network()
        compute.place(network)
        logits, pooled, targets = _seen(network, test, subject)
        near: dict[str, float] = {}
        if of_teacher is None:
            of_teacher = logits
        else:
            near = likeness(logits, of_teacher, temperature)
        networks.append(
            Outputs(
                one.name,
                one.run,
                one.kind,
                scores(logits, targets)["top1"],
                logits.cpu().numpy(),
                standardize(logits).cpu().numpy(),
                None if pooled is None else pooled.cpu().numpy(),
                near.get("kl"),
                near.get("kl_standardized"),
            )
        )
    return Exhibit(places, targets.cpu().numpy(), networks, temperature, _in_order(networks[1:]))


def _in_order(students: Sequence[Outputs]) -> tuple[int, int, int]:
    accuracies = [student.top1 for student in students]
    shared, pairs = pairs_in_order(accuracies, [student.kl or 0.0 for student in students])
    standardized, _ = pairs_in_order(accuracies, [one.kl_standardized or 0.0 for one in students])
    return shared, standardized, pairs


@torch.inference_mode()
def _seen(
    network: Network, images: Images, subject: Subject
) -> tuple[Tensor, Tensor | None, Tensor]:
    """(N, C) logits, (N, F) pooled features, (N,) classes; in float32 as accuracy is measured."""
    logits, pooled, targets = [], [], []
    with float32_products(tf32=False):
        for batch, target in whole_images(images, subject.data, network.image_size):
            output = network.forward_features(batch)
            logits.append(output.logits)
            pooled.append(output.pooled)
            targets.append(target)
    features = [part for part in pooled if part is not None]
    return torch.cat(logits), torch.cat(features) if features else None, torch.cat(targets)
