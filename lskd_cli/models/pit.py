"""PiT: a vision transformer with pooling (Heo et al., arXiv:2103.16302), from timm.

pit_tiny has three stages of 2, 6 and 4 layers on 27x27, 14x14 and 7x7 tokens of width 64, 128 and
256. A strided grouped convolution connects the stages.
"""

import torch
from torch import Tensor

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Output
from lskd_cli.models.vit_common import TimmTransformer, to_map, to_tokens

_RENAMES = (
    (r"^transformers\.1\.pool\.", "pools.0."),
    (r"^transformers\.2\.pool\.", "pools.1."),
    (r"\.attn\.qkv\.", ".attn.qkv_transform."),
    (r"\.attn\.proj\.", ".attn.projection."),
)


class PiT(TimmTransformer):
    """Overlapping 16x16 patches at stride 8, three stages, linear classifier on the class token."""

    def __init__(self, num_classes: int, image_size: int, drop_path: float) -> None:
        super().__init__(
            "pit_ti_224",
            _RENAMES,
            image_size,
            patch=16,
            num_classes=num_classes,
            img_size=image_size,
            drop_path_rate=drop_path * 11 / 12,  # steps of 1/12 per layer, as in the released code
        )

    def forward_features(self, images: Tensor) -> Output:
        network = self.network
        x = network.patch_embed(images) + network.pos_embed
        token = network.cls_token.expand(x.shape[0], -1, -1)
        feats = [x]
        for stage in network.transformers:
            if stage.pool is not None:
                x, token = stage.pool(x, token)
            width = x.shape[3]
            tokens = stage.norm(torch.cat([token, to_tokens(x)], dim=1))
            for block in stage.blocks:
                tokens = block(tokens)
                feats.append(to_map(tokens[:, 1:], width))
            token, x = tokens[:, :1], feats[-1]
        pooled = network.norm(token)[:, 0]
        return Output(network.head(pooled), feats, [], pooled)


register_family({"pit_tiny": PiT}, default_size=224, is_resizable=False)
