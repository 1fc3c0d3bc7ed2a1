"""PVT: a pyramid of transformer stages (Wang et al., arXiv:2102.12122, table 1).

pvt_tiny has four stages of two layers on maps of 1/4, 1/8, 1/16 and 1/32 of the size of the image.
The keys and values of a layer come from a spatially reduced map.
"""

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm, trunc_normal_
from torch import Tensor, nn

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Output
from lskd_cli.models.vit_common import (
    Transformer,
    TransformerBlock,
    drop_path_rates,
    init_linear,
    to_map,
    to_tokens,
)

_DEPTH = 2
# Per stage: width, heads, MLP ratio, spatial reduction of keys and values, patch size.
STAGES = ((64, 1, 8, 8, 4), (128, 2, 8, 4, 2), (320, 5, 4, 2, 2), (512, 8, 4, 1, 2))


class PatchEmbed(nn.Module):
    """The patches of a map as layer-normalized tokens."""

    def __init__(self, in_width: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_width, width, patch, stride=patch)
        self.norm = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(to_tokens(self.proj(x)))
        return out


class Attention(nn.Module):
    """Self-attention with spatially reduced keys and values."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.sr: nn.Module | None = None
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = LayerNorm(width)

    def forward(self, x: Tensor, side: int) -> Tensor:
        """Attention of (B, N, C) tokens, which form a map of width ``side`` if it is reduced."""
        source = x
        if self.sr is not None:
            source = self.norm(to_tokens(self.sr(to_map(x, side))))
        query = self.q(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
        key_value = self.kv(source).view(*source.shape[:2], 2, self.heads, -1)
        key, value = key_value.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class PVT(Transformer):
    """Four stages, learned positions in each, a class token in the last."""

    def __init__(self, num_classes: int, image_size: int, drop_path: float) -> None:
        super().__init__(image_size, patch=32)
        rates = drop_path_rates(drop_path, _DEPTH * len(STAGES))
        in_width, side = 3, image_size
        for number, (width, heads, ratio, reduction, patch) in enumerate(STAGES, start=1):
            side //= patch
            tokens = side**2 + (number == len(STAGES))
            position = nn.Parameter(trunc_normal_(torch.empty(1, tokens, width), std=0.02))
            self.register_parameter(f"pos_embed{number}", position)
            self.add_module(f"patch_embed{number}", PatchEmbed(in_width, width, patch))
            layers = (
                TransformerBlock(width, Attention(width, heads, reduction), ratio, rates.pop(0))
                for _ in range(_DEPTH)
            )
            self.add_module(f"block{number}", nn.ModuleList(layers))
            in_width = width
        self.cls_token = nn.Parameter(trunc_normal_(torch.empty(1, 1, in_width), std=0.02))
        self.norm = LayerNorm(in_width)
        self.head = nn.Linear(in_width, num_classes)
        init_linear(self)

    def forward_features(self, images: Tensor) -> Output:
        feats: list[Tensor] = []
        x = images
        for number in range(1, len(STAGES) + 1):
            embed = self.get_submodule(f"patch_embed{number}")
            layers = self.get_submodule(f"block{number}")
            side = x.shape[3] // STAGES[number - 1][4]
            tokens = embed(x)
            first = 0  # index of the first patch token
            if number == len(STAGES):
                tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1)
                first = 1
            tokens = tokens + self.get_parameter(f"pos_embed{number}")
            if number == 1:
                feats.append(to_map(tokens, side))
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                tokens = layer(tokens, side)
                feats.append(to_map(tokens[:, first:], side))
            x = feats[-1]
        pooled = self.norm(tokens[:, 0])
        return Output(self.head(pooled), feats, [], pooled)


register_family({"pvt_tiny": PVT}, default_size=224, is_resizable=False)
