"""Networks by their published names."""

from lskd_cli.models.output import Network, Output, Shapes
from lskd_cli.models.registry import (
    create_model,
    feature_shapes,
    is_model,
    list_models,
    nearest_models,
    teacher_size,
)

__all__ = [
    "Network",
    "Output",
    "Shapes",
    "create_model",
    "feature_shapes",
    "is_model",
    "list_models",
    "nearest_models",
    "teacher_size",
]
