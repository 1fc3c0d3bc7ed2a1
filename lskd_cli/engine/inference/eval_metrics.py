"""Metrics of logits: accuracy, loss, calibration, spread of logits, and fidelity to a teacher."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.distillers.kd import kd_loss

_BINS = 15  # of the calibration error, as in arXiv:1706.04599
NUM_SUMS = 4  # of metric_sums


def metric_sums(logits: Tensor, targets: Tensor) -> Tensor:
    """(4,) float64: number of images, top-1 and top-5 hits, and summed cross entropy."""
    top5 = logits.topk(min(5, logits.shape[1]), dim=1).indices == targets[:, None]
    loss = F.cross_entropy(logits.double(), targets, reduction="sum")
    top1_hits, top5_hits = top5[:, 0].sum(), top5.any(dim=1).sum()
    return torch.stack([torch.full_like(loss, len(targets)), top1_hits, top5_hits, loss])


def metric_means(sums: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent and mean cross entropy from ``metric_sums``."""
    images, top1, top5, loss = sums.tolist()
    return {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": loss / images}


def accuracy_and_loss(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent and mean cross entropy of (N, C) logits."""
    return metric_means(metric_sums(logits, targets))


def expected_calibration_error(logits: Tensor, targets: Tensor) -> float:
    """Expected calibration error in percent (Guo et al., arXiv:1706.04599, equation 3).

    It is the mean gap between confidence and accuracy in 15 equal-width bins of confidence,
    weighted by the number of images in each bin.
    """
    confidence, prediction = logits.double().softmax(dim=1).max(dim=1)
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gap = torch.zeros(_BINS, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, bins, confidence - (prediction == targets).double())
    return 100 * gap.abs().sum().item() / len(targets)


def logit_stats(logits: Tensor) -> dict[str, float]:
    """Mean and standard deviation over the classes of (N, C) logits.

    Returns:
        logit_mean: mean over the classes, averaged over the images, with its standard deviation
            over the images in logit_mean_spread.
        logit_std: standard deviation over the classes (unbiased, as in standardization), averaged
            over the images, with its standard deviation over the images in logit_std_spread.
    """
    logits = logits.double()
    result = {}
    for name, values in (("mean", logits.mean(dim=1)), ("std", logits.std(dim=1))):
        result[f"logit_{name}"] = values.mean().item()
        result[f"logit_{name}_spread"] = values.std().item()
    return result


def fidelity(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> dict[str, float]:
    """How closely a student's (N, C) logits match its teacher's.

    Returns:
        agreement: fraction of images with the same prediction, percent.
        kl: KL(teacher || student) in nats at the temperature.
        kl_standardized: the same for standardized logits; the temperature is the base temperature.
    """
    plain, standardized = (
        kd_loss(student, teacher, temperature, standardized=enabled).item() / temperature**2
        for enabled in (False, True)
    )
    return {
        "agreement": 100 * (student.argmax(1) == teacher.argmax(1)).double().mean().item(),
        "kl": plain,
        "kl_standardized": standardized,
    }


def concordance(students: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """Count concordant pairs of students by each divergence.

    Args:
        students: metrics of each student: top1, kl and kl_standardized.

    Returns:
        kl, kl_standardized: the numbers of pairs in which the more accurate student has the smaller
            divergence.
        pairs: the number of pairs with different accuracies.
    """
    accuracies = [student["top1"] for student in students]
    counts: dict[str, int] = {}
    for key in ("kl", "kl_standardized"):
        divergences = [student[key] for student in students]
        counts[key], counts["pairs"] = concordant_pairs(accuracies, divergences)
    return counts


def concordant_pairs(accuracies: Sequence[float], divergences: Sequence[float]) -> tuple[int, int]:
    """Count the pairs of students in which the more accurate one has the smaller divergence.

    Args:
        accuracies: accuracy of each student.
        divergences: divergence of each student from the teacher.

    Returns:
        The number of such pairs, and the number of pairs with different accuracies.
    """
    pairs = [
        (first, second) if first[0] > second[0] else (second, first)
        for first, second in combinations(zip(accuracies, divergences, strict=True), 2)
        if first[0] != second[0]
    ]
    return sum(better[1] < worse[1] for better, worse in pairs), len(pairs)
