"""ConViT: attention that starts as convolution (d'Ascoli et al., arXiv:2103.10697), from timm.

In the first ten of the twelve layers of convit_tiny, each head initially attends to one neighboring
patch; the class token is added after them. timm uses the published parameter names.
"""

import torch
from torch import Tensor

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Output
from lskd_cli.models.vit_common import TimmTransformer, to_map

_PATCH = 16


class ConViT(TimmTransformer):
    """16x16 patches, learned positions, gated layers, then a class token and standard layers."""

    def __init__(self, num_classes: int, image_size: int, drop_path: float) -> None:
        super().__init__(
            "convit_tiny",
            (),
            image_size,
            _PATCH,
            num_classes=num_classes,
            img_size=image_size,
            drop_path_rate=drop_path,
        )

    def forward_features(self, images: Tensor) -> Output:
        network, width = self.network, images.shape[3] // _PATCH
        x = network.patch_embed(images) + network.pos_embed
        feats = [to_map(x, width)]
        for index, block in enumerate(network.blocks):
            if index == network.local_up_to_layer:
                x = torch.cat([network.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
            x = block(x)
            patches = x[:, 1:] if index >= network.local_up_to_layer else x
            feats.append(to_map(patches, width))
        pooled = network.norm(x)[:, 0]
        return Output(network.head(pooled), feats, [], pooled)


register_family({"convit_tiny": ConViT}, default_size=224, is_resizable=False)
