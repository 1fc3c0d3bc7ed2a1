"""Outputs of networks with their features, and the base class of all networks."""

import builtins
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class Output:
    """Output of one forward pass.

    Attributes:
        logits: (B, classes).
        feats: (B, channels, height, width) each: the output of the stem or patch embedding, then of
            every stage of a convolutional network or every layer of a transformer.
        preacts: the same stages before their last activation; empty if a family has none.
        pooled: (B, features), the input of the classifier.
        final_map: (B, features, height, width), whose mean over all positions is ``pooled``; None
            if there is no such map.
    """

    logits: Tensor
    feats: list[Tensor] = field(default_factory=list)
    preacts: list[Tensor] = field(default_factory=list)
    pooled: Tensor | None = None
    final_map: Tensor | None = None

    def select(self, fields: Collection[str]) -> "Output":
        """The logits and the named fields; all other fields are empty."""
        return Output(self.logits, **{name: getattr(self, name) for name in fields})

    def slice(self, images: builtins.slice) -> "Output":
        """The output of some of the images."""
        return Output(
            self.logits[images],
            [feat[images] for feat in self.feats],
            [preact[images] for preact in self.preacts],
            None if self.pooled is None else self.pooled[images],
            None if self.final_map is None else self.final_map[images],
        )


@dataclass(frozen=True)
class FeatureShapes:
    """Shapes of the ``Output`` of one image.

    Attributes:
        feats: (C, H, W) of each map of ``Output.feats``.
        preacts: (C, H, W) of each map of ``Output.preacts``.
        pooled: number of pooled features; 0 if a network returns none.
        final_map: (C, H, W) of ``Output.final_map``; None if a network returns none.
    """

    feats: list[tuple[int, ...]]
    preacts: list[tuple[int, ...]]
    pooled: int
    final_map: tuple[int, ...] | None = None


class Network(nn.Module, ABC):
    """A classifier of (B, 3, S, S) images that returns the features of its stages.

    Attributes:
        image_size: S, in pixels.
        can_fuse_bn: whether batch norms can be fused into convolutions.
        all_params_used: whether the logits depend on all parameters.
    """

    image_size: int = 32
    can_fuse_bn: bool = True
    all_params_used: bool = True

    @property
    def added_parameters(self) -> int:
        """Number of parameters that a method has added to the network."""
        return 0

    @abstractmethod
    def forward_features(self, images: Tensor) -> Output:
        """Logits and features of (B, 3, S, S) normalized images."""

    def enable_features(self) -> bool:
        """Let ``forward_features`` return features too, if it does not always do so.

        Returns:
            Whether the network can return features.
        """
        return True

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        """The last batch norm of each stage, before the shortcut is added and before the ReLU.

        The list is empty if the stages do not end with a batch norm.
        """
        return []

    def classifier_layer(self) -> nn.Linear | None:
        """The last linear layer, which turns ``Output.pooled`` into logits in most networks."""
        layers = [module for module in self.modules() if isinstance(module, nn.Linear)]
        return layers[-1] if layers else None

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes) logits of (B, 3, S, S) normalized images."""
        return self.forward_features(images).logits
