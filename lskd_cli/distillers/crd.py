"""CRD: contrastive representation distillation (Tian et al., ICLR 2020, arXiv:1910.10699).

    loss = ce_weight * CE(s, y) + feature_weight * (NCE(e_s, bank_t) + NCE(e_t, bank_s))

e are embeddings of the pooled features, with length 1. A memory bank holds an embedding of every
training image. NCE separates the entry of the image itself (positive) from those of images of other
classes (negatives) with h(v) = exp(e . v / tau) / Z:

    NCE = -mean over the batch of log(h / (h + m / n)) + sum over the m negatives of
          log((m / n) / (h + m / n))

with n training images. Z is the mean of exp(e . v / tau) times n in the first batch, and constant
after it.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lskd_cli.config import FeatureMethodConfig, Fraction
from lskd_cli.distillers.base import AllGather, StepInputs
from lskd_cli.distillers.features import (
    FeatureDistiller,
    FeatureSpec,
    l2_normalize,
    pooled_features,
)
from lskd_cli.distillers.registry import register
from lskd_cli.errors import RequestError
from lskd_cli.models import Output

_EPS = 1e-7  # added to denominators, as in the released code


class NegativeSampler(nn.Module):
    """Samples images of other classes uniformly, with replacement.

    Images are sorted by class, so the images of other classes are all but one contiguous range.
    """

    def __init__(self, targets: Tensor) -> None:
        """Sort the training images by their (N,) class indices."""
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

    def sample(self, index: Tensor, count: int) -> Tensor:
        """(B, count) indices of images whose classes differ from those of the (B,) given images."""
        others = len(self.order) - self.own[index][:, None]
        drawn = torch.rand(len(index), count, device=index.device, dtype=torch.float64)
        position = (drawn * others).long()
        position += self.own[index][:, None] * (position >= self.first[index][:, None])
        return self.order[position]


class MemoryBank(nn.Module):
    """Embeddings of all training images by one network."""

    def __init__(self, num_images: int, config: "CRDConfig") -> None:
        """Create random entries.

        Args:
            num_images: N.
            config: size of the embeddings, temperature and momentum.
        """
        super().__init__()
        self.config = config
        bound = (3 / config.embedding) ** 0.5  # gives entries a mean square of 1 / embedding
        self.register_buffer("entries", (2 * torch.rand(num_images, config.embedding) - 1) * bound)
        self.register_buffer("constant", torch.zeros(()))  # Z / n; 0 before the first batch
        self.entries: Tensor
        self.constant: Tensor

    def loss(self, embeddings: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
        """NCE of the (B, E) embeddings of images; (B,) indices, (B, m) indices of negatives."""
        # A product with the whole bank moves less memory than gathering m entries per image.
        similar = embeddings @ self.entries.T
        chosen = similar.gather(1, torch.cat([index[:, None], negatives], dim=1))
        scores = torch.exp(chosen / self.config.contrast_temperature)
        is_new = self.constant == 0
        self.constant.copy_(torch.where(is_new, scores.detach().mean(), self.constant))
        h = scores / (self.constant * len(self.entries))
        noise = negatives.shape[1] / len(self.entries)
        positive = torch.log(h[:, 0] / (h[:, 0] + noise + _EPS))
        negative = torch.log(noise / (h[:, 1:] + noise + _EPS)).sum(dim=1)
        return -(positive + negative).mean()

    def update(self, index: Tensor, embeddings: Tensor) -> None:
        """Move the entries of the (B,) images towards their (B, E) embeddings."""
        momentum = self.config.momentum
        moved = momentum * self.entries[index] + (1 - momentum) * embeddings
        self.entries.index_copy_(0, index, l2_normalize(moved, dim=1))


class CRDConfig(FeatureMethodConfig):
    """Hyper-parameters of contrastive representation distillation."""

    uses_image_index: ClassVar[bool] = True
    name: Literal["crd"]
    embedding: PositiveInt = 128  # size of the embeddings
    negatives: PositiveInt = 16384  # number of images of other classes per image
    # exp(1 / contrast_temperature) has to be finite.
    contrast_temperature: Annotated[float, Field(ge=0.02)] = 0.07
    momentum: Fraction = 0.5  # of the entries of the memory banks


@register(CRDConfig)
class CRD(FeatureDistiller):
    """Cross entropy and the contrastive loss of the embeddings of both networks."""

    required_features = ("pooled",)
    draws_random_numbers = True
    config: CRDConfig

    def __init__(self, config: CRDConfig, standardized: bool, spec: FeatureSpec) -> None:
        """Create embeddings and memory banks.

        Raises:
            RequestError: all images are of one class.
        """
        super().__init__(config, standardized, spec)
        self.negatives = NegativeSampler(spec.targets)
        num_images = len(spec.targets)
        if not spec.targets.is_meta and int(self.negatives.own.max()) == num_images:
            raise RequestError("method crd needs training images of at least two classes")
        self.of_student = nn.Linear(spec.student.pooled, config.embedding)
        self.of_teacher = nn.Linear(spec.teacher.pooled, config.embedding)
        self.student_bank = MemoryBank(num_images, config)
        self.teacher_bank = MemoryBank(num_images, config)
        self.pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def distillation_loss(self, student: Output, teacher: Output, inputs: StepInputs) -> Tensor:
        student_embeddings = l2_normalize(self.of_student(pooled_features(student)), dim=1)
        teacher_embeddings = l2_normalize(self.of_teacher(pooled_features(teacher)), dim=1)
        negatives = self.negatives.sample(inputs.index, self.config.negatives)
        self.pending.append(
            (inputs.index, student_embeddings.detach(), teacher_embeddings.detach())
        )
        student_loss = self.teacher_bank.loss(student_embeddings, inputs.index, negatives)
        return student_loss + self.student_bank.loss(teacher_embeddings, inputs.index, negatives)

    def on_step_end(self, all_gather: AllGather) -> None:
        """Store the embeddings of the images of a step, those of all processes."""
        values = (torch.cat(tensors) for tensors in zip(*self.pending, strict=True))
        index, student_embeddings, teacher_embeddings = (all_gather(value) for value in values)
        self.pending.clear()
        for bank, embeddings in (
            (self.student_bank, student_embeddings),
            (self.teacher_bank, teacher_embeddings),
        ):
            bank.update(index, embeddings)
            bank.constant.copy_(all_gather(bank.constant[None]).mean())
