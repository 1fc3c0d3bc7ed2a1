"""PVT v2: a pyramid with convolutions in its layers (Wang et al., arXiv:2106.13797), from timm.

pvt_v2_b0 has four stages of two layers with width 32, 64, 160 and 256, on maps of 1/4 to 1/32 of
the size of the image.
"""

from torch import Tensor, nn

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Output
from lskd_cli.models.vit_common import TimmTransformer, to_map

_RENAMES = (
    (r"^patch_embed\.", "patch_embed1."),
    *((rf"^stages\.{i}\.downsample\.", f"patch_embed{i + 1}.") for i in range(1, 4)),
    *((rf"^stages\.{i}\.blocks\.", f"block{i + 1}.") for i in range(4)),
    *((rf"^stages\.{i}\.norm\.", f"norm{i + 1}.") for i in range(4)),
    (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
)


class PVTv2(TimmTransformer):
    """Overlapping patches, four stages with layer norms, linear classifier on the mean token."""

    def __init__(self, num_classes: int, image_size: int, drop_path: float) -> None:
        super().__init__(
            "pvt_v2_b0",
            _RENAMES,
            image_size,
            patch=32,
            num_classes=num_classes,
            drop_path_rate=drop_path,
        )
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6  # as in the released code; timm uses 1e-5 in some layers

    def forward_features(self, images: Tensor) -> Output:
        x = self.network.patch_embed(images)  # (B, H, W, C), as between all blocks
        feats = [x.permute(0, 3, 1, 2)]
        for stage in self.network.stages:
            if stage.downsample is not None:
                x = stage.downsample(x.permute(0, 3, 1, 2))
            size = x.shape[1:3]
            tokens = x.flatten(1, 2)
            for block in stage.blocks:
                tokens = block(tokens, size)
                feats.append(to_map(tokens, size[1]))
            x = stage.norm(tokens).unflatten(1, size)
        pooled = x.mean(dim=(1, 2))
        return Output(self.network.head(pooled), feats, [], pooled)


register_family({"pvt_v2_b0": PVTv2}, default_size=224, is_resizable=False)
