"""Creation of the distiller of a preset."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lskd_cli.config import Preset
from lskd_cli.distillers.base import Distiller
from lskd_cli.distillers.features import FeatureSpec
from lskd_cli.distillers.registry import FEATURE_FIELDS, distiller_class
from lskd_cli.errors import RequestError
from lskd_cli.models import FeatureShapes, Network, create_model, feature_shapes


def uses_features(preset: Preset) -> bool:
    """Whether the method of a preset uses features besides logits."""
    return bool(distiller_class(preset.method.name).required_features)


def takes_spec(preset: Preset) -> bool:
    """Whether the method of a preset needs to know its networks and data (``FeatureSpec``)."""
    return uses_features(preset) or distiller_class(preset.method.name).needs_spec


def create_distiller(
    preset: Preset,
    teacher: Network | None = None,
    targets: Tensor | None = None,
    student: Network | None = None,
    class_outputs: Callable[[], Tensor] | None = None,
) -> Distiller:
    """Create the method of a preset, with the hyper-parameters of its standardization if enabled.

    Args:
        preset: names the method and the networks.
        teacher: the teacher; required by all methods that take a ``FeatureSpec``.
        targets: (N,) class indices of the training images on the CPU; likewise.
        student: the student; created if it is not given, for a distiller that is only inspected.
        class_outputs: that of ``FeatureSpec``; by default it returns zeros, for a distiller that is
            only inspected, or whose state is restored.

    Raises:
        RequestError: the method uses features that one of the networks does not have.
    """
    config = preset.effective_method()
    create: Any = distiller_class(config.name)
    distiller: Distiller
    if not takes_spec(preset):
        distiller = create(config, preset.standardized)
        return distiller
    assert preset.teacher is not None
    if len(preset.teacher_names) > 1:
        raise RequestError(
            f"teacher: method {config.name} uses more of a teacher than its logits; give it one"
        )
    assert teacher is not None
    assert targets is not None
    size = preset.data.image_size
    student_shapes = feature_shapes(preset.student_model, size)
    teacher_shapes = feature_shapes(preset.teacher, teacher.image_size)
    for model, shapes in ((preset.student, student_shapes), (preset.teacher, teacher_shapes)):
        for field in create.required_features:
            if not _has_feature(shapes, field):
                raise RequestError(
                    f"method {config.name} uses {FEATURE_FIELDS[field]}; {model} provides none"
                )
    classifiers = None
    if "final_map" in create.required_features:
        if student is None:
            student = create_model(preset.student_model, preset.data.class_count, size)
        classifiers = _classifier(preset.student, student), _classifier(preset.teacher, teacher)
    classes, device = preset.data.class_count, next(teacher.parameters()).device
    spec = FeatureSpec(
        student_shapes,
        teacher_shapes,
        teacher,
        targets,
        preset.schedule.epochs,
        class_outputs or partial(torch.zeros, classes, 1, 1, device=device),
        classifiers,
    )
    distiller = create(config, preset.standardized, spec)
    return distiller


def _has_feature(shapes: FeatureShapes, field: str) -> bool:
    if field == "pooled":
        return shapes.pooled > 0
    if field == "final_map":
        return shapes.final_map is not None
    return len(shapes.feats) > 1  # a stem and stages; preactivations default to the stages


@torch.no_grad()
def _classifier(name: str, network: Network) -> nn.Linear:
    """The layer that turns the mean of the final map of a network into its logits."""
    layer = network.classifier_layer()
    probe = deepcopy(network).eval()
    probe.enable_features()
    images = torch.rand(2, 3, network.image_size, network.image_size)
    output = probe.forward_features(images.to(next(probe.parameters())))
    if layer is not None and output.final_map is not None:
        if output.logits.is_meta:
            return layer
        logits = layer(output.final_map.mean(dim=(2, 3)))
        if torch.allclose(logits, output.logits, rtol=1e-3, atol=1e-3 * logits.abs().max().item()):
            return layer
    raise RequestError(f"{name}: its logits are no linear function of the mean of its last map")
