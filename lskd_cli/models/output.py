"""What a network hands to a distiller, and the interface every network follows."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn


@dataclass
class Output:
    """One forward pass.

    Attributes:
        logits: (B, classes).
        feats: each (B, channels, height, width): the output of the stem, or the embedding, then of
            every stage of a convolutional network, or every layer of a transformer.
        preacts: the same stages before their last activation; empty where a family defines none.
        pooled: (B, features), what the classifier reads.
    """

    logits: Tensor
    feats: list[Tensor] = field(default_factory=list)
    preacts: list[Tensor] = field(default_factory=list)
    pooled: Tensor | None = None

    def only(self, names: Collection[str]) -> "Output":
        """The logits, and of the other fields those that are named."""
        kept = {name: getattr(self, name) for name in names}
        return Output(self.logits, **kept)

    def part(self, rows: slice) -> "Output":
        """The same of some of the images."""
        return Output(
            self.logits[rows],
            [feat[rows] for feat in self.feats],
            [preact[rows] for preact in self.preacts],
            None if self.pooled is None else self.pooled[rows],
        )


@dataclass(frozen=True)
class Shapes:
    """Of one image's ``Output``: (C, H, W) of every map, and the number of pooled features.

    Attributes:
        feats: as in ``Output``; likewise ``preacts``.
        pooled: 0 where a network gives none.
    """

    feats: list[tuple[int, ...]]
    preacts: list[tuple[int, ...]]
    pooled: int


class Network(nn.Module):
    """A classifier of (B, 3, S, S) images whose stages can be read.

    Attributes:
        image_size: S.
        foldable: whether batch norms can be folded into its convolutions.
        uses_all: whether every parameter has a part in the logits.
    """

    image_size: int = 32
    foldable: ClassVar[bool] = True
    uses_all: ClassVar[bool] = True

    def forward_features(self, images: Tensor) -> Output:
        """Logits of (B, 3, S, S) normalized images, with everything feature methods read."""
        raise TypeError(f"{type(self).__name__} does not define forward_features")

    def last_norms(self) -> list[nn.BatchNorm2d]:
        """The batch norm that ends each stage before its last activation, and its shortcut's sum.

        Empty where stages end otherwise.
        """
        return []

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, classes), of (B, 3, S, S) normalized images."""
        return self.forward_features(images).logits
