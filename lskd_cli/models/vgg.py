"""VGG with batch norm for 32x32 images (Simonyan and Zisserman, arXiv:1409.1556).

Five blocks of 3x3 convolutions. A 2x2 max pooling follows each of the first three blocks, so the
last two blocks work on 4x4 maps (the layout of the benchmark of Tian et al., arXiv:1910.10699).
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import global_avg_pool, kaiming_init
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output


class VGG(Network):
    """Five blocks of ``depths`` convolutions with 64, 128, 256, 512 and 512 planes."""

    block0: nn.Sequential
    block1: nn.Sequential
    block2: nn.Sequential
    block3: nn.Sequential
    block4: nn.Sequential

    def __init__(self, depths: tuple[int, int, int, int, int], num_classes: int) -> None:
        super().__init__()
        in_planes = 3
        for index, (depth, planes) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True)):
            self.add_module(f"block{index}", _block(in_planes, planes, depth))
            in_planes = planes
        self.classifier = nn.Linear(in_planes, num_classes)
        kaiming_init(self, classifier_std=0.01)

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        blocks: list[Any] = [self.block1, self.block2, self.block3, self.block4]
        return [block[-1] for block in blocks]

    def forward_features(self, images: Tensor) -> Output:
        x = F.relu(self.block0(images))
        feats, preacts = [x], [x]
        for index, block in enumerate((self.block1, self.block2, self.block3, self.block4)):
            preact = block(F.max_pool2d(x, 2) if index < 3 else x)
            x = F.relu(preact)
            feats.append(x)
            preacts.append(preact)
        pooled = global_avg_pool(x)
        return Output(self.classifier(pooled), feats, preacts, pooled, x)


def _block(in_planes: int, planes: int, depth: int) -> nn.Sequential:
    """Convolutions with batch norm, and ReLU between them."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(in_planes, planes, 3, padding=1),
            nn.BatchNorm2d(planes),
            nn.ReLU(inplace=True),
        ]
        in_planes = planes
    return nn.Sequential(*layers[:-1])


register_family(
    {
        "vgg8": partial(VGG, (1, 1, 1, 1, 1)),
        "vgg11": partial(VGG, (1, 1, 2, 2, 2)),
        "vgg13": partial(VGG, (2, 2, 2, 2, 2)),
        "vgg16": partial(VGG, (2, 2, 3, 3, 3)),
        "vgg19": partial(VGG, (2, 2, 4, 4, 4)),
    },
    default_size=32,
    max_size=64,
)
