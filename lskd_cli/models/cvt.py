"""CvT: convolutions before tokens and before attention (Wu et al., arXiv:2103.15808, table 1).

cvt_13 has three stages of 1, 2 and 10 layers. Only the last stage has a class token, and there are
no position embeddings.
"""

import torch
import torch.nn.functional as F
from timm.layers import QuickGELU, trunc_normal_
from torch import Tensor, nn

from lskd_cli.models.blocks import DepthwiseConv2d
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

# Per stage: width, depth, heads; side, stride and padding of the patches.
STAGES = ((64, 1, 1, 7, 4, 2), (192, 2, 3, 3, 2, 1), (384, 10, 6, 3, 2, 1))


class ConvEmbed(nn.Module):
    """Overlapping patches of a map, layer-normalized; the result is a map."""

    def __init__(self, in_width: int, width: int, side: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_width, width, side, stride, padding)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return to_map(self.norm(to_tokens(x)), x.shape[3])


class ConvProjection(nn.Module):
    """Depthwise 3x3 convolution and batch norm before a linear projection."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(self.bn(self.conv(x)))


class Attention(nn.Module):
    """Self-attention with convolved queries, keys and values; keys and values have stride 2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = width**-0.5  # of all heads, as in the released code; the paper uses one head's
        self.conv_proj_q = ConvProjection(width, 1)
        self.conv_proj_k = ConvProjection(width, 2)
        self.conv_proj_v = ConvProjection(width, 2)
        self.proj_q = nn.Linear(width, width)
        self.proj_k = nn.Linear(width, width)
        self.proj_v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, side: int, first: int) -> Tensor:
        """Attention of (B, N, C) tokens; those from ``first`` on form a map of width ``side``."""
        token, feature = x[:, :first], to_map(x[:, first:], side)
        query, key, value = (
            self._heads(project(torch.cat([token, convolve(feature)], dim=1)))
            for convolve, project in (
                (self.conv_proj_q, self.proj_q),
                (self.conv_proj_k, self.proj_k),
                (self.conv_proj_v, self.proj_v),
            )
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Stage(nn.Module):
    """Patch embedding and layers."""

    def __init__(
        self,
        in_width: int,
        shape: tuple[int, int, int, int, int, int],
        has_token: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        width, depth, heads, side, stride, padding = shape
        self.patch_embed = ConvEmbed(in_width, width, side, stride, padding)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, Attention(width, heads), 4, rate, nn.LayerNorm, QuickGELU)
            for rate in rates
        )
        self.cls_token: nn.Parameter | None = None
        if has_token:
            self.cls_token = nn.Parameter(trunc_normal_(torch.empty(1, 1, width), std=0.02))

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The embedded patches and the output of every layer as maps, and the final tokens."""
        feats = [self.patch_embed(x)]
        tokens, side, first = to_tokens(feats[0]), feats[0].shape[3], 0
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1)
            first = 1
        for block in self.blocks:
            tokens = block(tokens, side, first)
            feats.append(to_map(tokens[:, first:], side))
        return feats, tokens


class CvT(Transformer):
    """Three stages; stochastic depth in the last one; linear classifier on the class token."""

    def __init__(self, num_classes: int, image_size: int, drop_path: float) -> None:
        super().__init__(image_size, patch=16)
        widths = [3, *(shape[0] for shape in STAGES)]
        self.stage0 = Stage(widths[0], STAGES[0], has_token=False, drop_path=0.0)
        self.stage1 = Stage(widths[1], STAGES[1], has_token=False, drop_path=0.0)
        self.stage2 = Stage(widths[2], STAGES[2], has_token=True, drop_path=drop_path)
        self.norm = nn.LayerNorm(widths[3])
        self.head = nn.Linear(widths[3], num_classes)
        init_linear(self)

    def forward_features(self, images: Tensor) -> Output:
        feats: list[Tensor] = []
        x = images
        for stage in (self.stage0, self.stage1, self.stage2):
            stage_feats, tokens = stage(x)
            feats += stage_feats if not feats else stage_feats[1:]
            x = feats[-1]
        pooled = self.norm(tokens[:, 0])
        return Output(self.head(pooled), feats, [], pooled)


register_family({"cvt_13": CvT}, default_size=224, is_resizable=False)
