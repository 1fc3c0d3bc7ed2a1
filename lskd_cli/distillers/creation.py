"""Creation of the distiller of a preset."""

from typing import Any

from torch import Tensor

from lskd_cli.config import Preset
from lskd_cli.distillers.base import Distiller
from lskd_cli.distillers.features import FeatureSpec
from lskd_cli.distillers.registry import FEATURE_FIELDS, distiller_class
from lskd_cli.errors import RequestError
from lskd_cli.models import FeatureShapes, Network, feature_shapes


def uses_features(preset: Preset) -> bool:
    """Whether the method of a preset uses features besides logits."""
    return bool(distiller_class(preset.method.name).required_features)


def create_distiller(
    preset: Preset, teacher: Network | None = None, targets: Tensor | None = None
) -> Distiller:
    """Create the method of a preset, with the hyper-parameters of its standardization if enabled.

    Args:
        preset: names the method and the networks.
        teacher: the teacher; required by feature methods.
        targets: (N,) class indices of the training images on the CPU; required by feature methods.

    Raises:
        RequestError: the method uses features that one of the networks does not have.
    """
    config = preset.effective_method()
    create: Any = distiller_class(config.name)
    distiller: Distiller
    if not create.required_features:
        distiller = create(config, preset.standardized)
        return distiller
    assert preset.teacher is not None
    assert teacher is not None
    assert targets is not None
    size = preset.data.image_size
    student_shapes = feature_shapes(preset.student, size)
    teacher_shapes = feature_shapes(preset.teacher, teacher.image_size)
    for model, shapes in ((preset.student, student_shapes), (preset.teacher, teacher_shapes)):
        for field in create.required_features:
            if not _has_feature(shapes, field):
                raise RequestError(
                    f"method {config.name} uses {FEATURE_FIELDS[field]}; {model} provides none"
                )
    spec = FeatureSpec(student_shapes, teacher_shapes, teacher, targets)
    distiller = create(config, preset.standardized, spec)
    return distiller


def _has_feature(shapes: FeatureShapes, field: str) -> bool:
    if field == "pooled":
        return shapes.pooled > 0
    return len(shapes.feats) > 1  # a stem and stages; preactivations default to the stages
