"""Networks, created by their published names."""

from lskd_cli.models.output import FeatureShapes, Network, Output
from lskd_cli.models.registry import (
    create_model,
    feature_shapes,
    is_model,
    list_models,
    suggest_models,
    teacher_image_size,
)

__all__ = [
    "FeatureShapes",
    "Network",
    "Output",
    "create_model",
    "feature_shapes",
    "is_model",
    "list_models",
    "suggest_models",
    "teacher_image_size",
]
