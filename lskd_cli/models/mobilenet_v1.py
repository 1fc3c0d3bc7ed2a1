"""MobileNet for ImageNet, the first (Howard et al., arXiv:1704.04861), from timm.

Blocks of a 3x3 convolution within each channel and a 1x1 one across, both with batch norm and
ReLU (timm's own choice is ReLU6), 1024 features. Some publications of distillation call it
MobileNetV2.
"""

from typing import Any

import timm
from torch import Tensor, nn

from lskd_cli.models.names import rename
from lskd_cli.models.output import Network, Output


class MobileNetV1(Network):
    """Features are the stem's output and that of five stages, at a 2nd to a 32nd of the size."""

    foldable = False  # timm's batch norms hold their activation

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.network = timm.create_model(
            "mobilenetv1_100", num_classes=num_classes, act_layer=nn.ReLU
        )
        rename(self, {f"network.{name}": name for name in self.network.state_dict()})

    def last_norms(self) -> list[nn.BatchNorm2d]:
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
            preacts.append(_normalized(last.bn2, x))
            x = nn.functional.relu(preacts[-1])
            feats.append(x)
        pooled = network.global_pool(x)
        return Output(network.classifier(pooled), feats, preacts, pooled)


def _normalized(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """What timm's batch norm hands to the activation that it holds."""
    kind: Any = nn.SyncBatchNorm if isinstance(norm, nn.SyncBatchNorm) else nn.BatchNorm2d
    result: Tensor = kind.forward(norm, x)
    return result


FAMILY = {"mobilenet_v1": MobileNetV1}
