"""ResNets for ImageNet (He et al., arXiv:1512.03385) from torchvision, with features of the stages.

A 7x7 convolution and a pooling reduce the size to a quarter; four stages follow. Parameter names
are torchvision's, so its IMAGENET1K_V1 weights fit. resnet50 has its strides in the 3x3
convolutions, as those weights do.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output


class ImageNetResNet(ResNet, Network):  # type: ignore[misc]
    """Features are the output of the stem, after the pooling, and of the four stages."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        num_classes: int,
        image_size: int,
    ) -> None:
        super().__init__(block, layers, num_classes)
        self.image_size = image_size

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        net: Any = self
        blocks = [stage[-1] for stage in (net.layer1, net.layer2, net.layer3, net.layer4)]
        return [block.bn3 if isinstance(block, Bottleneck) else block.bn2 for block in blocks]

    def forward_features(self, images: Tensor) -> Output:
        net: Any = self
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        feats, preacts = [x], []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            *blocks, last = stage
            for block in blocks:
                x = block(x)
            preacts.append(_before_activation(last, x))
            # Not in place, unlike the block's own ReLU, because the preactivation is returned.
            x = nn.functional.relu(preacts[-1])
            feats.append(x)
        pooled = net.avgpool(x).flatten(1)
        return Output(net.fc(pooled), feats, preacts, pooled, x)

    def forward(self, images: Tensor) -> Tensor:
        return Network.forward(self, images)


def _before_activation(block: nn.Module, x: Tensor) -> Tensor:
    """Output of a block before its last activation."""
    assert isinstance(block, BasicBlock | Bottleneck)
    out = block.relu(block.bn1(block.conv1(x)))
    out = block.bn2(block.conv2(out))
    if isinstance(block, Bottleneck):
        out = block.bn3(block.conv3(block.relu(out)))
    shortcut: Tensor = x if block.downsample is None else block.downsample(x)
    result: Tensor = out + shortcut
    return result


register_family(
    {
        "resnet18": partial(ImageNetResNet, BasicBlock, [2, 2, 2, 2]),
        "resnet34": partial(ImageNetResNet, BasicBlock, [3, 4, 6, 3]),
        "resnet50": partial(ImageNetResNet, Bottleneck, [3, 4, 6, 3]),
    },
    default_size=224,
)
