"""ShuffleNet V1 and V2 for 32x32 images (arXiv:1707.01083 and arXiv:1807.11164).

Both have a 1x1 stem without pooling and three stages that start with stride 2.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import concat, conv1x1, conv3x3, global_avg_pool, shuffle_channels
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output
from lskd_cli.models.resnet import Stage, run_stages

STEM = 24
GROUPS = 3  # of the pointwise convolutions of V1


class GroupedBlock(nn.Module):
    """V1: grouped 1x1, shuffle, depthwise 3x3 and grouped 1x1 convolution, with a shortcut.

    With stride 2, the pooled input is concatenated instead of added, so the convolutions have
    ``planes - in_planes`` output channels.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        new_planes = planes - in_planes if stride == 2 else planes
        # The first block is not grouped because its input is too narrow.
        hidden = new_planes // 4
        self.stride = stride
        self.groups = 1 if in_planes == STEM else GROUPS
        self.conv1 = conv1x1(in_planes, hidden, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = conv3x3(hidden, hidden, stride, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = conv1x1(hidden, new_planes, groups=GROUPS)
        self.bn3 = nn.BatchNorm2d(new_planes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = shuffle_channels(F.relu(self.bn1(self.conv1(x)), inplace=True), self.groups)
        # The network of the benchmark has a ReLU here, which the paper omits.
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            preact = concat(out, F.avg_pool2d(x, 3, stride=2, padding=1))
        else:
            preact = out + x
        return F.relu(preact), preact


class SplitBlock(nn.Module):
    """V2 with stride 1: one half of the channels is kept, the other goes through convolutions."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        half = planes // 2
        self.conv1 = conv1x1(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = conv3x3(half, half, groups=half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv1x1(half, half)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, out = x.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(out)), inplace=True)
        preact = self.bn3(self.conv3(self.bn2(self.conv2(out))))
        return shuffle_channels(concat(kept, F.relu(preact)), 2), concat(kept, preact)


class DownBlock(nn.Module):
    """V2 with stride 2: two convolutional branches, each with half of the output channels."""

    def __init__(self, in_planes: int, planes: int) -> None:
        super().__init__()
        half = planes // 2
        self.conv1 = conv3x3(in_planes, in_planes, 2, groups=in_planes)
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv2 = conv1x1(in_planes, half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv1x1(in_planes, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = conv3x3(half, half, 2, groups=half)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = conv1x1(half, half)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        preact = concat(left, right)
        return shuffle_channels(F.relu(preact), 2), preact


class ShuffleNetV1(Network):
    """Three stages of 4, 8 and 4 blocks with 240, 480 and 960 channels, in three groups."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _grouped_stage(STEM, 240, 4)
        self.layer2 = _grouped_stage(240, 480, 8)
        self.layer3 = _grouped_stage(480, 960, 4)
        self.linear = nn.Linear(960, num_classes)

    def forward_features(self, images: Tensor) -> Output:
        stem = F.relu(self.bn1(self.conv1(images)))
        feats, preacts = run_stages(stem, (self.layer1, self.layer2, self.layer3))
        pooled = global_avg_pool(feats[-1])
        return Output(self.linear(pooled), feats, preacts, pooled, feats[-1])


class ShuffleNetV2(Network):
    """Three stages of 4, 8 and 4 blocks with 116, 232 and 464 channels, and 1024 features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _split_stage(STEM, 116, 4)
        self.layer2 = _split_stage(116, 232, 8)
        self.layer3 = _split_stage(232, 464, 4)
        self.conv2 = conv1x1(464, 1024)
        self.bn2 = nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, num_classes)

    def forward_features(self, images: Tensor) -> Output:
        stem = F.relu(self.bn1(self.conv1(images)))
        feats, preacts = run_stages(stem, (self.layer1, self.layer2, self.layer3))
        final_map = F.relu(self.bn2(self.conv2(feats[-1])), inplace=True)
        pooled = global_avg_pool(final_map)
        return Output(self.linear(pooled), feats, preacts, pooled, final_map)


def _grouped_stage(in_planes: int, planes: int, blocks: int) -> Stage:
    first = GroupedBlock(in_planes, planes, 2)
    return Stage(first, *(GroupedBlock(planes, planes, 1) for _ in range(blocks - 1)))


def _split_stage(in_planes: int, planes: int, blocks: int) -> Stage:
    return Stage(DownBlock(in_planes, planes), *(SplitBlock(planes) for _ in range(blocks - 1)))


register_family(
    {"ShuffleV1": ShuffleNetV1, "ShuffleV2": ShuffleNetV2}, default_size=32, max_size=64
)
