"""The ResNet-56 teacher of vision transformers (Li et al., arXiv:2207.10026).

Depth and width are those of resnet56 (He et al., arXiv:1512.03385, section 4.2), but shortcuts that
change the width are 1x1 convolutions with batch norm. Parameter names are those of the published
checkpoint.
"""

from collections import OrderedDict
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import conv1x1, conv3x3, global_avg_pool, kaiming_init
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output
from lskd_cli.models.resnet import Stage, run_stages

_BLOCKS = 9  # per stage: depth 6 * 9 + 2
_WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.proj: nn.Module | None = None
        if stride != 1 or in_planes != planes:
            self.proj = conv1x1(in_planes, planes, stride)
            self.bn = nn.BatchNorm2d(planes)
        self.f = nn.Sequential(
            OrderedDict(
                a=conv3x3(in_planes, planes, stride),
                a_bn=nn.BatchNorm2d(planes),
                a_relu=nn.ReLU(inplace=True),
                b=conv3x3(planes, planes),
                b_bn=nn.BatchNorm2d(planes),
            )
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        preact: Tensor = self.f(x)
        preact += x if self.proj is None else self.bn(self.proj(x))
        return F.relu(preact), preact


class Stem(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv = conv3x3(3, planes)
        self.bn = nn.BatchNorm2d(planes)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class GuideResNet(Network):
    """Stem, three stages of nine blocks, linear classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = Stem(_WIDTHS[0])
        self.s1 = _stage(_WIDTHS[0], _WIDTHS[0], stride=1)
        self.s2 = _stage(_WIDTHS[0], _WIDTHS[1], stride=2)
        self.s3 = _stage(_WIDTHS[1], _WIDTHS[2], stride=2)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(_WIDTHS[2], num_classes)))
        kaiming_init(self, classifier_std=0.01)

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        blocks: list[Any] = [stage[-1] for stage in (self.s1, self.s2, self.s3)]
        return [block.f.b_bn for block in blocks]

    def forward_features(self, images: Tensor) -> Output:
        feats, preacts = run_stages(self.stem(images), (self.s1, self.s2, self.s3))
        pooled = global_avg_pool(feats[-1])
        return Output(self.head(pooled), feats, preacts, pooled, feats[-1])


def _stage(in_planes: int, planes: int, stride: int) -> Stage:
    blocks: OrderedDict[str, nn.Module] = OrderedDict(b1=Block(in_planes, planes, stride))
    blocks |= {f"b{number}": Block(planes, planes, 1) for number in range(2, _BLOCKS + 1)}
    return Stage(blocks)


register_family({"resnet56_guide": GuideResNet}, default_size=32, max_size=64)
