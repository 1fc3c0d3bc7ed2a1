"""Building blocks that several families of networks share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution.

    Under autocast to half precision on a CPU, it computes in float32 and rounds the result, because
    the half-precision kernels are several times slower there.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.get_autocast_dtype("cpu"))


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """3x3 convolution with padding 1, without bias because batch norm follows."""
    conv = DepthwiseConv2d if groups == in_planes > 1 else nn.Conv2d
    return conv(in_planes, out_planes, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_planes, out_planes, 1, stride, groups=groups, bias=False)


def pool_to(maps: Tensor, side: int) -> Tensor:
    """(B, C, H, W) maps, average-pooled if they are larger than ``side``."""
    return F.adaptive_avg_pool2d(maps, side) if maps.shape[2] > side else maps


def global_avg_pool(feature: Tensor) -> Tensor:
    """Global average pooling: (B, C, H, W) to (B, C)."""
    return feature.mean(dim=(2, 3))


def shuffle_channels(feature: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` groups (ShuffleNet, arXiv:1707.01083, figure 1)."""
    batch, channels, height, width = feature.shape
    split = feature.view(batch, groups, channels // groups, height, width)
    return split.transpose(1, 2).reshape(batch, channels, height, width)


def kaiming_init(network: nn.Module, classifier_std: float | None = None) -> None:
    """Kaiming initialization of convolutions by fan-out (He et al., arXiv:1502.01852).

    Args:
        network: changed in place.
        classifier_std: standard deviation of linear weights, whose biases become zero; None
            keeps PyTorch's default for linear layers.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and classifier_std is not None:
            nn.init.normal_(module.weight, std=classifier_std)
            nn.init.zeros_(module.bias)


def concat(left: Tensor, right: Tensor) -> Tensor:
    """Concatenate two features along their channels."""
    return torch.cat([left, right], dim=1)
