"""Base classes and helpers of vision transformers."""

import re
from collections.abc import Sequence
from typing import Any

import timm
from timm.layers import DropPath, LayerNorm, Mlp, calculate_drop_path_rates, trunc_normal_
from torch import Tensor, nn

from lskd_cli.errors import RequestError
from lskd_cli.models.output import Network
from lskd_cli.models.state_dict_names import rename_parameters


class Transformer(Network):
    """A vision transformer for (B, 3, S, S) images.

    Its ``feats`` are the embedded patches and the outputs of all layers, (B, C, H, W) each, without
    the class token.
    """

    can_fuse_bn = False  # there are almost no batch norms

    def __init__(self, image_size: int, patch: int) -> None:
        """Check the image size.

        Args:
            image_size: S, in pixels.
            patch: patch size in pixels, of which S must be a multiple.

        Raises:
            RequestError: S is not a multiple of the patch size.
        """
        super().__init__()
        if image_size % patch:
            near = max(1, round(image_size / patch)) * patch
            name = type(self).__name__
            raise RequestError(
                f"data.image_size: {name} needs a multiple of its patch size ({patch} pixels), not "
                f"{image_size}; nearest: {near}"
            )
        self.image_size = image_size


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP with shortcuts."""

    def __init__(
        self,
        width: int,
        attention: nn.Module,
        ratio: int,
        drop_path: float,
        norm: type[nn.Module] = LayerNorm,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        """Create the layers.

        Args:
            width: C, the number of channels of the tokens.
            attention: takes (B, N, C) tokens and the additional arguments of ``forward``.
            ratio: width of the MLP, in multiples of C.
            drop_path: stochastic depth rate in training.
            norm: class of the norms; the default is timm's layer norm with eps 1e-6.
            activation: class of the activation of the MLP.
        """
        super().__init__()
        self.norm1 = norm(width)
        self.attn = attention
        self.norm2 = norm(width)
        self.mlp = Mlp(width, ratio * width, act_layer=activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, *shape: int) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), *shape))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class TimmTransformer(Transformer):
    """A transformer of timm, with the published parameter names in its state dictionary."""

    def __init__(
        self,
        name: str,
        published: Sequence[tuple[str, str]],
        image_size: int,
        patch: int,
        **options: Any,
    ) -> None:
        """Create a network without pretrained weights.

        Args:
            name: name in timm.
            published: (pattern, replacement) pairs of regular expressions, applied in order, that
                convert timm's parameter names to the published ones.
            image_size: size of the input in pixels.
            patch: patch size in pixels, of which the image size must be a multiple.
            options: further arguments of ``timm.create_model``.
        """
        super().__init__(image_size, patch)
        self.network: Any = timm.create_model(name, **options)
        names = {}
        for timm_name in self.network.state_dict():
            published_name = timm_name
            for pattern, replacement in published:
                published_name = re.sub(pattern, replacement, published_name)
            names[f"network.{timm_name}"] = published_name
        rename_parameters(self, names)


def to_map(tokens: Tensor, width: int) -> Tensor:
    """(B, H * W, C) tokens in row-major order as a (B, C, H, W) map, which shares their memory."""
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).view(batch, channels, -1, width)


def to_tokens(feature: Tensor) -> Tensor:
    """The inverse of ``to_map``."""
    return feature.flatten(2).transpose(1, 2)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth rates of all layers, increasing linearly from 0 to ``last``."""
    rates = calculate_drop_path_rates(last, depth)
    assert isinstance(rates, list)
    return rates


def init_linear(network: nn.Module) -> None:
    """Initialize linear weights from a truncated normal with std 0.02, and biases with zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
