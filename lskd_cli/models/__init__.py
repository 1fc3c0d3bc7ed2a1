"""Networks by their published names."""

from lskd_cli.models.output import Network, Output
from lskd_cli.models.registry import create_model, feature_shapes, list_models, nearest_models
from lskd_cli.models.transformer import Transformer

__all__ = [
    "Network",
    "Output",
    "Transformer",
    "create_model",
    "feature_shapes",
    "list_models",
    "nearest_models",
]
