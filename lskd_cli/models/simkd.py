"""Students of SimKD: a network, a projector to the teacher's last map, and its classifier."""

from torch import Tensor, nn

from lskd_cli.errors import RequestError
from lskd_cli.models.blocks import conv1x1, conv3x3, pool_to
from lskd_cli.models.output import Network, Output

Shape = tuple[int, ...]


class SimKDProjector(nn.Sequential):
    """1x1, 3x3 and 1x1 convolution, each with batch norm and ReLU, and a narrow middle."""

    def __init__(self, student_channels: int, teacher_channels: int, factor: int) -> None:
        """Create the layers.

        Args:
            student_channels: channels of the student's last map.
            teacher_channels: channels of the teacher's last map.
            factor: the 3x3 convolution has ``teacher_channels // factor`` channels.
        """
        middle = teacher_channels // factor
        layers: list[nn.Module] = []
        for convolution, channels in (
            (conv1x1(student_channels, middle), middle),
            (conv3x3(middle, middle), middle),
            (conv1x1(middle, teacher_channels), teacher_channels),
        ):
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class SimKDNetwork(Network):
    """A network whose last map is projected to that of a teacher, and read by its classifier.

    The classifier is not trained; the method copies it from the teacher.
    """

    can_fuse_bn = False

    def __init__(
        self, backbone: Network, student: Shape, teacher: Shape, factor: int, num_classes: int
    ) -> None:
        """Extend a network.

        Args:
            backbone: the network, which loses its own classifier.
            student: (C, H, W) of its last map.
            teacher: (C, H, W) of the teacher's last map.
            factor: that of ``SimKDProjector``.
            num_classes: number of outputs of the classifier.

        Raises:
            RequestError: the factor exceeds the number of channels, or the network has no
                classifier.
        """
        super().__init__()
        if factor > teacher[0]:
            raise RequestError(
                f"method.factor: must be at most the {teacher[0]} channels of the teacher's last "
                f"map, not {factor}"
            )
        self.backbone = backbone
        self.image_size = backbone.image_size
        self.all_params_used = backbone.all_params_used
        self.side = min(student[1], teacher[1])
        _remove_classifier(backbone)
        backbone.enable_features()
        self.projector = SimKDProjector(student[0], teacher[0], factor)
        self.linear = nn.Linear(teacher[0], num_classes).requires_grad_(False)

    @property
    def added_parameters(self) -> int:
        parts = (self.projector, self.linear)
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    def forward_features(self, images: Tensor) -> Output:
        output = self.backbone.forward_features(images)
        assert output.final_map is not None
        final_map = self.projector(pool_to(output.final_map, self.side))
        pooled = final_map.mean(dim=(2, 3))
        return Output(self.linear(pooled), output.feats, output.preacts, pooled, final_map)


def _remove_classifier(network: Network) -> None:
    layer = network.classifier_layer()
    for name, module in network.named_modules():
        if module is layer:
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, nn.Identity())
