"""MobileNetV2 at half width for 32x32 images (Sandler et al., arXiv:1801.04381).

The expansion is 6, the width 0.5; three of the strides of the paper are kept, so the last stage is
2x2. The stages end with linear bottlenecks, so there are no pre-activation features.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lskd_cli.models.blocks import conv1x1, conv3x3, global_avg_pool, kaiming_init
from lskd_cli.models.entries import register_family
from lskd_cli.models.output import Network, Output

# Expansion, planes at full width, blocks, stride (table 2 of the paper, strides for 32x32).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
WIDTH = 0.5
FEATURES = 1280
# Stages whose outputs are features, besides the stem: the last stage of each size.
FEATURE_STAGES = (1, 2, 4, 6)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; a shortcut if the shape does not change."""

    def __init__(self, in_planes: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_planes * expansion
        self.residual = stride == 1 and in_planes == planes
        self.conv = nn.Sequential(
            conv1x1(in_planes, hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            conv3x3(hidden, hidden, stride, groups=hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            conv1x1(hidden, planes),
            nn.BatchNorm2d(planes),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(Network):
    """Stem at stride 2, seven stages of inverted residuals, 1280 features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        in_planes = int(32 * WIDTH)
        self.conv1 = nn.Sequential(
            conv3x3(3, in_planes, 2), nn.BatchNorm2d(in_planes), nn.ReLU(inplace=True)
        )
        self.blocks = nn.ModuleList()
        for expansion, full_planes, depth, first_stride in STAGES:
            planes = int(full_planes * WIDTH)
            blocks = []
            for stride in [first_stride] + [1] * (depth - 1):
                blocks.append(InvertedResidual(in_planes, planes, stride, expansion))
                in_planes = planes
            self.blocks.append(nn.Sequential(*blocks))
        self.conv2 = nn.Sequential(conv1x1(in_planes, FEATURES), nn.BatchNorm2d(FEATURES))
        self.classifier = nn.Sequential(nn.Linear(FEATURES, num_classes))
        kaiming_init(self, classifier_std=0.01)

    def forward_features(self, images: Tensor) -> Output:
        x = self.conv1(images)
        feats = [x]
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in FEATURE_STAGES:
                feats.append(x)
        final_map = F.relu(self.conv2(x), inplace=True)
        pooled = global_avg_pool(final_map)
        return Output(self.classifier(pooled), feats, [], pooled, final_map)


register_family({"MobileNetV2": MobileNetV2}, default_size=32, max_size=64)
