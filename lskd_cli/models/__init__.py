"""Networks, created by their published names."""

from lskd_cli.models.custom import check_custom_model, load_model_file, model_source, register_model
from lskd_cli.models.libraries import split_external
from lskd_cli.models.output import FeatureShapes, Network, Output
from lskd_cli.models.pretrained import library_preprocessing, load_pretrained
from lskd_cli.models.registry import (
    classifier_parameters,
    create_model,
    feature_shapes,
    is_model,
    list_models,
    simkd_name,
    suggest_models,
    teacher_image_size,
)
from lskd_cli.models.simkd import SimKDProjector

__all__ = [
    "FeatureShapes",
    "Network",
    "Output",
    "SimKDProjector",
    "check_custom_model",
    "classifier_parameters",
    "create_model",
    "feature_shapes",
    "is_model",
    "library_preprocessing",
    "list_models",
    "load_model_file",
    "load_pretrained",
    "model_source",
    "register_model",
    "simkd_name",
    "split_external",
    "suggest_models",
    "teacher_image_size",
]
