"""ResNets for 32x32 images with three stages (He et al., arXiv:1512.03385, section 4.2).

The depth is 6n + 2. The "x4" networks have a stem of twice the width and stages of four times the
width, as in the benchmark of Tian et al. (arXiv:1910.10699), whose parameter names are kept.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import conv1x1, conv3x3, global_avg_pool, kaiming_init
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Batch norm does not save its output for the backward pass, so the operations after it work in
    place, except the last ReLU, whose input is returned as a feature.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_planes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_planes != planes:
            self.downsample = nn.Sequential(
                conv1x1(in_planes, planes, stride), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        preact: Tensor = self.bn2(self.conv2(out))
        preact += x if self.downsample is None else self.downsample(x)
        return F.relu(preact), preact


class Stage(nn.Sequential):
    """A sequence of blocks; returns the output of the last block and its pre-activation."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        preact = x
        for block in self:
            x, preact = block(x)
        return x, preact


def run_stages(x: Tensor, stages: Iterable[Stage]) -> tuple[list[Tensor], list[Tensor]]:
    """Features of the stem and of all stages, and the same before the last activation."""
    feats, preacts = [x], [x]
    for stage in stages:
        x, preact = stage(x)
        feats.append(x)
        preacts.append(preact)
    return feats, preacts


class ResNet(Network):
    """Stem, three stages of ``blocks`` basic blocks, linear classifier."""

    def __init__(self, blocks: int, stem: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.fc = nn.Linear(4 * width, num_classes)
        kaiming_init(self)

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        blocks: list[Any] = [stage[-1] for stage in (self.layer1, self.layer2, self.layer3)]
        return [block.bn2 for block in blocks]

    def forward_features(self, images: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(images)))
        feats, preacts = run_stages(x, (self.layer1, self.layer2, self.layer3))
        pooled = global_avg_pool(feats[-1])
        return Output(self.fc(pooled), feats, preacts, pooled, feats[-1])


def _stage(in_planes: int, planes: int, blocks: int, stride: int) -> Stage:
    first = BasicBlock(in_planes, planes, stride)
    return Stage(first, *(BasicBlock(planes, planes, 1) for _ in range(blocks - 1)))


# depth = 6 * blocks + 2
register_family(
    {
        **{
            f"resnet{depth}": partial(ResNet, (depth - 2) // 6, 16, 16)
            for depth in (8, 14, 20, 32, 44, 56, 110)
        },
        "resnet8x4": partial(ResNet, 1, 32, 64),
        "resnet32x4": partial(ResNet, 5, 32, 64),
    },
    default_size=32,
    max_size=64,
)
