"""CRD: contrastive representation distillation (Tian et al., ICLR 2020, arXiv:1910.10699).

    loss = ce_weight * CE(s, y) + feature_weight * (NCE(e_s, bank_t) + NCE(e_t, bank_s))

e are embeddings of the pooled features, of length 1. A bank remembers an embedding of every
training image. NCE tells an image's own entry (positive) from those of images of other classes
(negatives) by h(v) = exp(e . v / tau) / Z:

    NCE = -mean over the batch of log(h / (h + m / n)) + sum over the m negatives of
          log((m / n) / (h + m / n))

with n training images. Z is the mean of exp(e . v / tau) times n in the first batch, and stays.
"""

import torch
from torch import Tensor, nn

from lskd_cli.config import CRDMethod
from lskd_cli.distillers.base import Gather, Step
from lskd_cli.distillers.features import FeatureDistiller, Pair, pooled, unit
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_EPS = 1e-7  # as released: added to the denominators


class Negatives(nn.Module):
    """Draws images of other classes than a given one's, evenly and with replacement.

    Images are kept sorted by class: those of other classes are all but one range of places.
    """

    def __init__(self, targets: Tensor) -> None:
        """Sort the training images, (N,) classes."""
        super().__init__()
        order = targets.argsort(stable=True)
        first = torch.searchsorted(targets[order], targets)
        last = torch.searchsorted(targets[order], targets, right=True)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("own", last - first, persistent=False)
        self.order: Tensor
        self.first: Tensor
        self.own: Tensor

    def draw(self, index: Tensor, count: int) -> Tensor:
        """(B, count) images, of other classes than the (B,) images of the index."""
        others = len(self.order) - self.own[index][:, None]
        drawn = torch.rand(len(index), count, device=index.device, dtype=torch.float64)
        place = (drawn * others).long()
        place += self.own[index][:, None] * (place >= self.first[index][:, None])
        return self.order[place]


class Bank(nn.Module):
    """An embedding of every training image, and what embeddings of the others are compared to."""

    def __init__(self, images: int, method: CRDMethod) -> None:
        """Start from random entries.

        Args:
            images: N.
            method: size of the embeddings, temperature, momentum.
        """
        super().__init__()
        self.method = method
        bound = (3 / method.embedding) ** 0.5  # entries then have a mean square of 1 / embedding
        self.register_buffer("entries", (2 * torch.rand(images, method.embedding) - 1) * bound)
        self.register_buffer("constant", torch.zeros(()))  # Z / n; 0 before the first batch
        self.entries: Tensor
        self.constant: Tensor

    def loss(self, embeddings: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
        """NCE of (B, E) embeddings, of the images of a (B,) index and (B, m) negatives."""
        # One product with the whole bank moves less memory than m entries for each image would.
        similar = embeddings @ self.entries.T
        chosen = similar.gather(1, torch.cat([index[:, None], negatives], dim=1))
        scores = torch.exp(chosen / self.method.contrast_temperature)
        is_new = self.constant == 0
        self.constant.copy_(torch.where(is_new, scores.detach().mean(), self.constant))
        h = scores / (self.constant * len(self.entries))
        noise = negatives.shape[1] / len(self.entries)
        own = torch.log(h[:, 0] / (h[:, 0] + noise + _EPS))
        others = torch.log(noise / (h[:, 1:] + noise + _EPS)).sum(dim=1)
        return -(own + others).mean()

    def remember(self, index: Tensor, embeddings: Tensor) -> None:
        """Move the entries of the (B,) images towards (B, E) embeddings; length 1 again."""
        share = self.method.momentum
        moved = share * self.entries[index] + (1 - share) * embeddings
        self.entries.index_copy_(0, index, unit(moved, dim=1))


class CRD(FeatureDistiller):
    """Cross entropy and the contrast of both networks' embeddings."""

    reads = ("pooled",)
    method: CRDMethod

    def __init__(self, method: CRDMethod, standardized: bool, pair: Pair) -> None:
        """Make embeddings and banks.

        Raises:
            RequestError: all images are of one class.
        """
        super().__init__(method, standardized, pair)
        self.negatives = Negatives(pair.targets)
        images = len(pair.targets)
        if not pair.targets.is_meta and int(self.negatives.own.max()) == images:
            raise RequestError("method crd contrasts images of several classes; there is one alone")
        self.of_student = nn.Linear(pair.student.pooled, method.embedding)
        self.of_teacher = nn.Linear(pair.teacher.pooled, method.embedding)
        self.student_bank = Bank(images, method)
        self.teacher_bank = Bank(images, method)
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def distillation(self, student: Output, teacher: Output, step: Step) -> Tensor:
        ours = unit(self.of_student(pooled(student)), dim=1)
        theirs = unit(self.of_teacher(pooled(teacher)), dim=1)
        negatives = self.negatives.draw(step.index, self.method.negatives)
        self.seen.append((step.index, ours.detach(), theirs.detach()))
        of_student = self.teacher_bank.loss(ours, step.index, negatives)
        return of_student + self.student_bank.loss(theirs, step.index, negatives)

    def after_step(self, gathered: Gather) -> None:
        """Remember the embeddings of the images of a step, all processes' alike."""
        parts = (torch.cat(part) for part in zip(*self.seen, strict=True))
        index, ours, theirs = (gathered(part) for part in parts)
        self.seen.clear()
        for bank, embeddings in ((self.student_bank, ours), (self.teacher_bank, theirs)):
            bank.remember(index, embeddings)
            bank.constant.copy_(gathered(bank.constant[None]).mean())
