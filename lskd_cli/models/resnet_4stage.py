"""ResNets with the four stages of the ImageNet networks, for 32x32 images.

One 3x3 convolution with stride 1 replaces the 7x7 stem and its pooling. The names are capitalized
(ResNet18, ResNet50) to distinguish them from the three-stage networks, as in the benchmark of Tian
et al. (arXiv:1910.10699).
"""

from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import conv1x1, conv3x3, global_avg_pool, kaiming_init
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output
from lskd_cli.models.resnet import Stage, run_stages


class ShortcutBlock(nn.Module):
    """Base class of both blocks with the projection shortcut."""

    expansion: ClassVar[int]

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        out_planes = self.expansion * planes
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or in_planes != out_planes:
            self.shortcut = nn.Sequential(
                conv1x1(in_planes, out_planes, stride), nn.BatchNorm2d(out_planes)
            )


class BasicBlock(ShortcutBlock):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__(in_planes, planes, stride)
        self.conv1 = conv3x3(in_planes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        preact: Tensor = self.bn2(self.conv2(out))
        preact += self.shortcut(x)
        return F.relu(preact), preact


class Bottleneck(ShortcutBlock):
    """1x1, 3x3 and 1x1 convolutions; the 3x3 convolution has the stride."""

    expansion = 4

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__(in_planes, planes, stride)
        self.conv1 = conv1x1(in_planes, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, self.expansion * planes)
        self.bn3 = nn.BatchNorm2d(self.expansion * planes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        preact: Tensor = self.bn3(self.conv3(out))
        preact += self.shortcut(x)
        return F.relu(preact), preact


class FourStageResNet(Network):
    """Stem of 64 channels and four stages of 64, 128, 256 and 512 planes."""

    layer1: Stage
    layer2: Stage
    layer3: Stage
    layer4: Stage

    def __init__(
        self, block: type[ShortcutBlock], depths: tuple[int, int, int, int], num_classes: int
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, 64)
        self.bn1 = nn.BatchNorm2d(64)
        in_planes = 64
        for index, depth in enumerate(depths):
            planes = 64 * 2**index
            strides = [1 if index == 0 else 2] + [1] * (depth - 1)
            blocks = []
            for stride in strides:
                blocks.append(block(in_planes, planes, stride))
                in_planes = block.expansion * planes
            self.add_module(f"layer{index + 1}", Stage(*blocks))
        self.linear = nn.Linear(in_planes, num_classes)
        kaiming_init(self)

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        blocks: list[Any] = [stage[-1] for stage in stages]
        return [block.bn3 if isinstance(block, Bottleneck) else block.bn2 for block in blocks]

    def forward_features(self, images: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(images)))
        feats, preacts = run_stages(x, (self.layer1, self.layer2, self.layer3, self.layer4))
        pooled = global_avg_pool(feats[-1])
        return Output(self.linear(pooled), feats, preacts, pooled, feats[-1])


register_family(
    {
        "ResNet18": partial(FourStageResNet, BasicBlock, (2, 2, 2, 2)),
        "ResNet50": partial(FourStageResNet, Bottleneck, (3, 4, 6, 3)),
    },
    default_size=32,
    max_size=64,
)
