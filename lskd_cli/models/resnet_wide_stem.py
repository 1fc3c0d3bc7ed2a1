"""ResNets of the ImageNet shape (four stages) brought to 32x32 images.

The 7x7 stem and its pooling become one 3x3 convolution at stride 1. Names are capitalized
(ResNet18, ResNet50) in the benchmark of Tian et al. (arXiv:1910.10699) to tell them from the
three-stage networks; so are they here.
"""

from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import conv1x1, conv3x3, init_he, pool
from lskd_cli.models.output import Network, Output
from lskd_cli.models.resnet import Stage, run_stages


class ShortcutBlock(nn.Module):
    """What both blocks share: the projection beside the convolutions."""

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
    """1x1, 3x3, 1x1 convolutions; the stride is on the 3x3 one."""

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


class WideStemResNet(Network):
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
        init_he(self)

    def last_norms(self) -> list[nn.BatchNorm2d]:
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        lasts: list[Any] = [stage[-1] for stage in stages]
        return [last.bn3 if isinstance(last, Bottleneck) else last.bn2 for last in lasts]

    def forward_features(self, images: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(images)))
        feats, preacts = run_stages(x, (self.layer1, self.layer2, self.layer3, self.layer4))
        pooled = pool(feats[-1])
        return Output(self.linear(pooled), feats, preacts, pooled)


FAMILY = {
    "ResNet18": partial(WideStemResNet, BasicBlock, (2, 2, 2, 2)),
    "ResNet50": partial(WideStemResNet, Bottleneck, (3, 4, 6, 3)),
}
