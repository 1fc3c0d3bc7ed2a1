"""T2T-ViT: tokens that aggregate neighboring tokens (Yuan et al., arXiv:2101.11986).

Two performers (linear attention, Choromanski et al., arXiv:2009.14794) transform 56x56 windows into
14x14 tokens; the layers of a standard vision transformer follow. Widths and depths are those of
table 2 of the paper.
"""

import math
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm, Mlp, trunc_normal_
from torch import Tensor, nn

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Output
from lskd_cli.models.vit_common import (
    Transformer,
    TransformerBlock,
    drop_path_rates,
    init_linear,
    to_map,
)

_TOKEN = 64  # width of the tokens in the performers
_PATCH = 16  # pixels between tokens, after windows with strides 4, 2 and 2


class PerformerAttention(nn.Module):
    """One head with a softmax approximated by random features (arXiv:2009.14794, equation 5)."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        features = width // 2
        self.qkv_transform = nn.Linear(in_width, 3 * width)
        self.projection = nn.Linear(width, width)
        directions = nn.init.orthogonal_(torch.empty(features, width)) * math.sqrt(features)
        self.w = nn.Parameter(directions, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        key, query, value = self.qkv_transform(x).chunk(3, dim=-1)  # order of the released code
        # Exponentials and sums over thousands of tokens need more precision than bf16.
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            query_features, key_features = self._features(query), self._features(key)
            total = query_features @ key_features.sum(dim=1).unsqueeze(2)
            context = key_features.transpose(1, 2) @ value.to(key_features.dtype)
            attended = (query_features @ context) / (total + 1e-8)
        out: Tensor = value + self.projection(attended)
        return out

    def _features(self, x: Tensor) -> Tensor:
        x = x.to(self.w.dtype)
        half_norm = x.square().sum(dim=-1, keepdim=True) / 2
        return torch.exp(x @ self.w.T - half_norm) / math.sqrt(len(self.w))


class Performer(nn.Module):
    """Attention that projects windows to the width of tokens, then an MLP with a shortcut."""

    def __init__(self, in_width: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(in_width)
        self.attn = PerformerAttention(in_width, _TOKEN)
        self.norm2 = LayerNorm(_TOKEN)
        self.mlp = Mlp(_TOKEN, _TOKEN)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class TokensToToken(nn.Module):
    """(B, 3, S, S) images to (B, (S / 16)^2, width) tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.ModuleList([Performer(3 * 7 * 7), Performer(_TOKEN * 3 * 3)])
        self.projection = nn.Linear(_TOKEN * 3 * 3, width)

    def forward(self, images: Tensor) -> Tensor:
        x = F.unfold(images, kernel_size=7, stride=4, padding=2).transpose(1, 2)
        side = images.shape[3] // 4
        for performer in self.attention:
            tokens = to_map(performer(x), side)
            x = F.unfold(tokens, kernel_size=3, stride=2, padding=1).transpose(1, 2)
            side //= 2
        out: Tensor = self.projection(x)
        return out


class Attention(nn.Module):
    """Self-attention of several heads; queries, keys and values without bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_transform = nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv_transform(x).view(*x.shape[:2], 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.projection(attended.transpose(1, 2).flatten(2))
        return out


class T2TViT(Transformer):
    """Tokens-to-token module, class token, fixed sine positions, layers, linear classifier."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        ratio: int,
        *,
        num_classes: int,
        image_size: int,
        drop_path: float,
    ) -> None:
        super().__init__(image_size, _PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = _sinusoids((image_size // _PATCH) ** 2 + 1, width)
        self.pos_embed = nn.Parameter(positions, requires_grad=False)
        self.t2t_module = TokensToToken(width)
        rates = drop_path_rates(drop_path, depth)
        self.layers = nn.ModuleList(
            TransformerBlock(width, Attention(width, heads), ratio, rate) for rate in rates
        )
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        init_linear(self)
        trunc_normal_(self.cls_token, std=0.02)

    def forward_features(self, images: Tensor) -> Output:
        width = images.shape[3] // _PATCH
        x = self.t2t_module(images)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        feats = [to_map(x[:, 1:], width)]
        for layer in self.layers:
            x = layer(x)
            feats.append(to_map(x[:, 1:], width))
        pooled = self.norm(x)[:, 0]
        return Output(self.head(pooled), feats, [], pooled)


def _sinusoids(count: int, width: int) -> Tensor:
    """(1, count, width) positions (Vaswani et al., arXiv:1706.03762, section 3.5)."""
    rate = 10000.0 ** (-2 * (torch.arange(width, dtype=torch.float64) // 2) / width)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * rate
    return torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos()).float()[None]


register_family(
    {
        "t2t_vit_7": partial(T2TViT, 256, 7, 4, 2),
        "t2t_vit_14": partial(T2TViT, 384, 14, 6, 3),
    },
    default_size=224,
    is_resizable=False,
)
