"""MobileNet V1 for ImageNet (Howard et al., arXiv:1704.04861), from timm.

Blocks of a depthwise 3x3 and a 1x1 convolution, both with batch norm and ReLU (timm's default is
ReLU6), and 1024 features. Some publications about distillation call it MobileNetV2. As in their
released code, it starts from PyTorch's default initialization.
"""

from typing import Any

import timm
from torch import Tensor, nn

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output
from lskd_cli.models.state_dict_names import rename_parameters


class MobileNetV1(Network):
    """Features are the outputs of the stem and of five stages, at 1/2 to 1/32 of the size."""

    can_fuse_bn = False  # timm's batch norms include the activation

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.network = timm.create_model(
            "mobilenetv1_100", num_classes=num_classes, act_layer=nn.ReLU
        )
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
                module.reset_parameters()
        rename_parameters(self, {f"network.{name}": name for name in self.network.state_dict()})

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        return [stage[-1].bn2 for stage in self.network.blocks]

    def forward_features(self, images: Tensor) -> Output:
        network = self.network
        x = network.bn1(network.conv_stem(images))
        feats, preacts = [x], []
        for stage in network.blocks:
            *blocks, last = stage
            for block in blocks:
                x = block(x)
            x = last.conv_pw(last.bn1(last.conv_dw(x)))
            preacts.append(_batch_norm_only(last.bn2, x))
            x = nn.functional.relu(preacts[-1])
            feats.append(x)
        pooled = network.global_pool(x)
        return Output(network.classifier(pooled), feats, preacts, pooled, x)


def _batch_norm_only(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Output of timm's batch norm before the activation that it includes."""
    plain: Any = nn.SyncBatchNorm if isinstance(norm, nn.SyncBatchNorm) else nn.BatchNorm2d
    result: Tensor = plain.forward(norm, x)
    return result


register_family({"mobilenet_v1": MobileNetV1}, default_size=224)
