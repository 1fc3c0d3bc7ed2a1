"""How good a network is: accuracy, loss, calibration, and its likeness to its teacher."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from lskd_cli.config import Data
from lskd_cli.data import ImageSet, Normalizer
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.engine.device import float32_products
from lskd_cli.models import Network

_BATCH = 250
_BINS = 15  # of the calibration error, as in arXiv:1706.04599


def logits_of(network: Network, images: ImageSet, data: Data) -> Tensor:
    """(N, C) logits of a whole set, in evaluation mode.

    Always in float32, in whatever precision the network was trained: a reported accuracy can then
    be measured again from the saved weights, to the last image.
    """
    with float32_products(tf32=False):
        return torch.cat(list(_logits(network, images, data)))


def scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent and mean cross entropy, of (N, C) logits."""
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices == targets[:, None]
    values = torch.stack(
        [
            100 * top[:, 0].double().mean(),
            100 * top.any(dim=1).double().mean(),
            F.cross_entropy(logits.double(), targets),
        ]
    )
    return dict(zip(("top1", "top5", "loss"), values.tolist(), strict=True))


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """Expected calibration error in percent (Guo et al., arXiv:1706.04599, equation 3).

    The gap between confidence and accuracy in 15 equal bins of confidence, weighted by their size.
    """
    confidence, answer = logits.double().softmax(dim=1).max(dim=1)
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gap = torch.zeros(_BINS, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, bins, confidence - (answer == targets).double())
    return 100 * gap.abs().sum().item() / len(targets)


def likeness(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """How a student's (N, C) logits relate to its teacher's.

    Returns:
        agreement: share of images with the same answer, percent.
        kl: KL(teacher || student) at temperature 1.
        kl_standardized: the same of standardized logits.
    """
    return {
        "agreement": 100 * (student.argmax(1) == teacher.argmax(1)).double().mean().item(),
        "kl": kd_loss(student, teacher, 1.0).item(),
        "kl_standardized": kd_loss(student, teacher, 1.0, standardized=True).item(),
    }


@torch.inference_mode()
def _logits(network: Network, images: ImageSet, data: Data) -> Iterator[Tensor]:
    network.eval()
    normalize = Normalizer(data, images.targets.device)
    size = [network.image_size, network.image_size]
    for part in torch.split(images.images, _BATCH):
        pixels = part.permute(0, 3, 1, 2)
        if list(pixels.shape[2:]) != size:
            # Bilinearly, whatever training does: the published rows were measured so.
            pixels = resize(pixels, size, interpolation=InterpolationMode.BILINEAR)
        yield network(normalize(pixels))
