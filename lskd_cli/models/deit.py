"""DeiT: a plain vision transformer (Touvron et al., arXiv:2012.12877), from timm.

deit_tiny has 12 layers of width 192 with 3 heads, and no distillation token.
"""

from timm.layers import trunc_normal_
from torch import Tensor, nn

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Output
from lskd_cli.models.vit_common import TimmTransformer, to_map

_PATCH = 16
_RENAMES = (
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^blocks\.", "layers."),
    (r"\.attn\.qkv\.", ".attn.qkv_transform."),
    (r"\.attn\.proj\.", ".attn.projection."),
)


class DeiT(TimmTransformer):
    """16x16 patches, a class token, learned positions, layers, linear classifier."""

    def __init__(self, num_classes: int, image_size: int, drop_path: float) -> None:
        super().__init__(
            "deit_tiny_patch16_224",
            _RENAMES,
            image_size,
            _PATCH,
            num_classes=num_classes,
            img_size=image_size,
            drop_path_rate=drop_path,
        )
        # Initialization of the published rows; timm uses std 1e-6 and a nonzero head.
        trunc_normal_(self.network.cls_token, std=0.02)
        nn.init.zeros_(self.network.head.weight)

    def forward_features(self, images: Tensor) -> Output:
        width = images.shape[3] // _PATCH
        x = self.network._pos_embed(self.network.patch_embed(images))
        feats = [to_map(x[:, 1:], width)]
        for block in self.network.blocks:
            x = block(x)
            feats.append(to_map(x[:, 1:], width))
        pooled = self.network.norm(x)[:, 0]
        return Output(self.network.head(pooled), feats, [], pooled)


register_family({"deit_tiny": DeiT}, default_size=224, is_resizable=False)
