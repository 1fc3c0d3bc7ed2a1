"""How good a network is: accuracy, loss, calibration, logits, and its likeness to its teacher."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import Data
from lskd_cli.data import Images, Share, whole_images
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.engine.device import float32_products
from lskd_cli.engine.team import ALONE, Team
from lskd_cli.models import Network

_BINS = 15  # of the calibration error, as in arXiv:1706.04599


def logits_of(network: Network, images: Images, data: Data) -> tuple[Tensor, Tensor]:
    """(N, C) logits and (N,) classes of a whole set, in evaluation mode.

    Always in float32, in whatever precision the network was trained: a reported accuracy can then
    be measured again from the saved weights, to the last image.
    """
    logits, targets = zip(*_seen(network, images, data, ALONE.share), strict=True)
    return torch.cat(logits), torch.cat(targets)


def measured(network: Network, images: Images, data: Data, team: Team) -> dict[str, float]:
    """What ``scores`` tells of a set that several processes look at, each image once."""
    sums = torch.zeros(len(_SUMS), dtype=torch.float64)
    for logits, targets in _seen(network, images, data, team.share):
        sums += _sums(logits, targets).cpu()
    return _means(team.gathered(sums).sum(dim=0))


def scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent and mean cross entropy, of (N, C) logits."""
    return _means(_sums(logits, targets))


_SUMS = ("images", "right", "right_in_five", "loss")


def _sums(logits: Tensor, targets: Tensor) -> Tensor:
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices == targets[:, None]
    loss = F.cross_entropy(logits.double(), targets, reduction="sum")
    right, in_five = top[:, 0].sum(), top.any(dim=1).sum()
    return torch.stack([torch.full_like(loss, len(targets)), right, in_five, loss])


def _means(sums: Tensor) -> dict[str, float]:
    images, right, in_five, loss = sums.tolist()
    return {"top1": 100 * right / images, "top5": 100 * in_five / images, "loss": loss / images}


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """Expected calibration error in percent (Guo et al., arXiv:1706.04599, equation 3).

    The gap between confidence and accuracy in 15 equal bins of confidence, weighted by their size.
    """
    confidence, answer = logits.double().softmax(dim=1).max(dim=1)
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gap = torch.zeros(_BINS, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, bins, confidence - (answer == targets).double())
    return 100 * gap.abs().sum().item() / len(targets)


def spread(logits: Tensor) -> dict[str, float]:
    """Where the (N, C) logits of images lie, and how far apart those of one image.

    Returns:
        logit_mean: mean over the classes, its average over the images; _spread: its standard
            deviation over the images.
        logit_deviation: standard deviation over the classes (unbiased, as what standardization
            divides by), its average and spread likewise.
    """
    logits = logits.double()
    result = {}
    for name, of_image in (("mean", logits.mean(dim=1)), ("deviation", logits.std(dim=1))):
        result[f"logit_{name}"] = of_image.mean().item()
        result[f"logit_{name}_spread"] = of_image.std().item()
    return result


def likeness(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> dict[str, float]:
    """How a student's (N, C) logits relate to its teacher's.

    Returns:
        agreement: share of images with the same answer, percent.
        kl: KL(teacher || student) in nats, both softened by the temperature.
        kl_standardized: the same of standardized logits; the temperature is the base temperature.
    """
    plain, standardized = (
        kd_loss(student, teacher, temperature, standardized=is_on).item() / temperature**2
        for is_on in (False, True)
    )
    return {
        "agreement": 100 * (student.argmax(1) == teacher.argmax(1)).double().mean().item(),
        "kl": plain,
        "kl_standardized": standardized,
    }


def pairs_in_order(accuracies: Sequence[float], divergences: Sequence[float]) -> tuple[int, int]:
    """Whether students that are more like their teacher are the better ones.

    Args:
        accuracies: one for each student.
        divergences: from the teacher, one for each student.

    Returns:
        Of how many pairs of students the more accurate one diverges less, and the number of pairs
        whose accuracies differ.
    """
    pairs = [
        (first, second) if first[0] > second[0] else (second, first)
        for first, second in combinations(zip(accuracies, divergences, strict=True), 2)
        if first[0] != second[0]
    ]
    return sum(better[1] < worse[1] for better, worse in pairs), len(pairs)


@torch.inference_mode()
def _seen(
    network: Network, images: Images, data: Data, share: Share
) -> Iterator[tuple[Tensor, Tensor]]:
    network.eval()
    with float32_products(tf32=False):
        for batch, target in whole_images(images, data, network.image_size, share):
            yield network(batch), target
