"""What a preset may say; loading, composition, overrides."""

from lskd_cli.config.compose import (
    list_networks,
    list_pairs,
    list_presets,
    load_data,
    load_preset,
    to_yaml,
)
from lskd_cli.config.methods import (
    CTKDMethod,
    DKDMethod,
    GuidanceMethod,
    KDMethod,
    Method,
    MLKDMethod,
    VanillaMethod,
)
from lskd_cli.config.schema import (
    CROP_SIZE,
    Augmentation,
    Data,
    Optimizer,
    Preset,
    Published,
    Schedule,
    Stand,
)

__all__ = [
    "CROP_SIZE",
    "Augmentation",
    "CTKDMethod",
    "DKDMethod",
    "Data",
    "GuidanceMethod",
    "KDMethod",
    "MLKDMethod",
    "Method",
    "Optimizer",
    "Preset",
    "Published",
    "Schedule",
    "Stand",
    "VanillaMethod",
    "list_networks",
    "list_pairs",
    "list_presets",
    "load_data",
    "load_preset",
    "to_yaml",
]
