"""Wide residual networks with pre-activation (Zagoruyko and Komodakis, arXiv:1605.07146).

wrn_D_K has depth D = 6n + 4 and K times the widths 16, 32 and 64.
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import conv1x1, conv3x3, global_avg_pool, kaiming_init
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output


class PreActBlock(nn.Module):
    """Two times batch norm, ReLU and convolution; a 1x1 shortcut if the width changes."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = conv3x3(in_planes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        # The published checkpoints spell the name this way.
        self.convShortcut = conv1x1(in_planes, planes, stride) if in_planes != planes else None

    def forward(self, x: Tensor, normalized: Tensor | None = None) -> Tensor:
        """``normalized`` is bn1(x) if the caller has already computed it."""
        activated = F.relu(self.bn1(x) if normalized is None else normalized)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated)), inplace=True))
        return out + (x if self.convShortcut is None else self.convShortcut(activated))


class Stage(nn.Module):
    """``blocks`` blocks, the first of which changes the width and the stride."""

    def __init__(self, in_planes: int, planes: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList([PreActBlock(in_planes, planes, stride)])
        self.layer.extend(PreActBlock(planes, planes, 1) for _ in range(blocks - 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the stage, and the normalized input of its first block."""
        first, *others = self.layer
        assert isinstance(first, PreActBlock)
        normalized = first.bn1(x)
        x = first(x, normalized)
        for block in others:
            x = block(x)
        return x, normalized


class WideResNet(Network):
    """Stem, three stages, a final batch norm, linear classifier."""

    def __init__(self, depth: int, factor: int, num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = conv3x3(3, widths[0])
        self.block1 = Stage(widths[0], widths[1], blocks, stride=1)
        self.block2 = Stage(widths[1], widths[2], blocks, stride=2)
        self.block3 = Stage(widths[2], widths[3], blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)
        kaiming_init(self)
        nn.init.zeros_(self.fc.bias)

    def final_batch_norms(self) -> list[nn.BatchNorm2d]:
        # The first batch norm of the next stage precedes the ReLU.
        modules: list[Any] = [self.block2.layer[0], self.block3.layer[0], self]
        return [module.bn1 for module in modules]

    def forward_features(self, images: Tensor) -> Output:
        stem = self.conv1(images)
        first, _ = self.block1(stem)
        second, first_preact = self.block2(first)
        third, second_preact = self.block3(second)
        third_preact = self.bn1(third)
        final_map = F.relu(third_preact)
        pooled = global_avg_pool(final_map)
        return Output(
            logits=self.fc(pooled),
            feats=[stem, first, second, third],
            preacts=[stem, first_preact, second_preact, third_preact],
            pooled=pooled,
            final_map=final_map,
        )


register_family(
    {
        f"wrn_{depth}_{factor}": partial(WideResNet, depth, factor)
        for depth, factor in ((16, 1), (16, 2), (40, 1), (40, 2))
    },
    default_size=32,
    max_size=64,
)
