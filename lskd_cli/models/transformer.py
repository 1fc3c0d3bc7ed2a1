"""What the vision transformers share: larger images, tokens that are maps, published names."""

import re
from collections.abc import Sequence
from typing import Any

import timm
from timm.layers import DropPath, LayerNorm, Mlp, calculate_drop_path_rates, trunc_normal_
from torch import Tensor, nn

from lskd_cli.errors import RequestError
from lskd_cli.models.names import rename
from lskd_cli.models.output import Network


class Transformer(Network):
    """A classifier of (B, 3, S, S) images.

    Its ``feats`` are the embedded patches, then the output of every layer, each (B, C, H, W) and
    without the class token.
    """

    foldable = False  # it has no batch norms to speak of

    def __init__(self, image_size: int, patch: int) -> None:
        """Prepare.

        Args:
            image_size: S.
            patch: pixels that S must be a multiple of.

        Raises:
            RequestError: it is not.
        """
        super().__init__()
        if image_size % patch:
            near = max(1, round(image_size / patch)) * patch
            name = type(self).__name__
            raise RequestError(
                f"data.image_size: {name} cuts images into patches of {patch} pixels, {image_size} "
                f"is no multiple of it; nearest: {near}"
            )
        self.image_size = image_size


class Layer(nn.Module):
    """Attention and MLP, each normalized first and beside a shortcut."""

    def __init__(
        self,
        width: int,
        attention: nn.Module,
        ratio: int,
        drop_path: float,
        norm: type[nn.Module] = LayerNorm,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        """Put a layer together.

        Args:
            width: C of its tokens.
            attention: of (B, N, C) tokens, and of whatever ``forward`` is given besides.
            ratio: width of the MLP, in multiples of C.
            drop_path: share of images that skip it in training.
            norm: timm's, with eps 1e-6, where the published network has no other.
            activation: of the MLP.
        """
        super().__init__()
        self.norm1 = norm(width)
        self.attn = attention
        self.norm2 = norm(width)
        self.mlp = Mlp(width, ratio * width, act_layer=activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, *place: int) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), *place))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class Borrowed(Transformer):
    """A network of timm, whose parameters go by their published names in every file."""

    def __init__(
        self,
        name: str,
        published: Sequence[tuple[str, str]],
        image_size: int,
        patch: int,
        **options: Any,
    ) -> None:
        """Make a network, without weights.

        Args:
            name: as timm has it.
            published: (pattern, replacement) pairs of regular expressions; all of them, one after
                the other, make the published name of a parameter from timm's.
            image_size: of its input.
            patch: pixels that it must be a multiple of.
            options: of timm's.
        """
        super().__init__(image_size, patch)
        self.network: Any = timm.create_model(name, **options)
        names = {}
        for own in self.network.state_dict():
            other = own
            for pattern, replacement in published:
                other = re.sub(pattern, replacement, other)
            names[f"network.{own}"] = other
        rename(self, names)


def to_map(tokens: Tensor, width: int) -> Tensor:
    """(B, H * W, C) tokens, row by row, as a (B, C, H, W) map; a view of the same memory."""
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).view(batch, channels, -1, width)


def to_tokens(feature: Tensor) -> Tensor:
    """The inverse of ``to_map``."""
    return feature.flatten(2).transpose(1, 2)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Of every layer, from 0 in the first linearly to the last."""
    rates = calculate_drop_path_rates(last, depth)
    assert isinstance(rates, list)
    return rates


def init_linear(network: nn.Module) -> None:
    """Linear weights truncated normal with deviation 0.02, their biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
