"""Logits and features of test images from the weights of a teacher and its students."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lskd_cli.data import FolderSet, Images, load_dataset, num_classes, whole_images
from lskd_cli.download import Progress
from lskd_cli.engine.device import Compute, float32_products
from lskd_cli.engine.evaluation import likeness, scores
from lskd_cli.engine.inspect import Subject
from lskd_cli.engine.teacher import check_classes
from lskd_cli.models import Network
from lskd_cli.outputs import Exhibit, Kind, Outputs
from lskd_cli.zscore import standardize

IMAGES = 12_800  # at most, evenly among the test images


def exhibit(
    subjects: Sequence[tuple[str, Kind, Subject]],
    data_dir: Path,
    compute: Compute,
    progress: Progress,
    temperature: float,
) -> Exhibit:
    """Names, kinds and weights of networks to what they say of test images.

    The first may be a teacher; ``temperature`` is that of the divergence from it.

    Raises:
        RequestError: weights do not fit their networks, or there are no images.
        RunError: a download failed.
    """
    data = subjects[0][2].data
    test = load_dataset(data, data_dir, progress).test
    if len(test) > IMAGES:
        test = test.take(np.linspace(0, len(test) - 1, IMAGES).astype(int))
    test = test.to(compute.device)
    networks: list[Outputs] = []
    of_teacher = None
    for name, kind, subject in subjects:
        if isinstance(test, FolderSet):
            check_classes(subject.checkpoint, test.classes)
        network = subject.checkpoint.network(
            subject.model, num_classes(subject.data), subject.data.image_size
        )
        compute.place(network)
        logits, pooled = _seen(network, test, subject)
        near: dict[str, float] = {}
        if of_teacher is not None:
            near = likeness(logits, of_teacher, temperature)
        if kind == "teacher":
            of_teacher = logits
        networks.append(
            Outputs(
                name,
                kind,
                scores(logits, test.targets)["top1"],
                logits.cpu().numpy(),
                standardize(logits).cpu().numpy(),
                None if pooled is None else pooled.cpu().numpy(),
                near.get("kl"),
                near.get("kl_standardized"),
            )
        )
    return Exhibit(test.targets.cpu().numpy(), networks, temperature)


@torch.inference_mode()
def _seen(network: Network, images: Images, subject: Subject) -> tuple[Tensor, Tensor | None]:
    """(N, C) logits and (N, F) pooled features, in float32 as accuracy is measured."""
    logits, pooled = [], []
    with float32_products(tf32=False):
        for batch, _ in whole_images(images, subject.data, network.image_size):
            output = network.forward_features(batch)
            logits.append(output.logits)
            pooled.append(output.pooled)
    features = [part for part in pooled if part is not None]
    return torch.cat(logits), torch.cat(features) if features else None
