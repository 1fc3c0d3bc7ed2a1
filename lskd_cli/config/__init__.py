"""What a preset may say; loading, composition, overrides."""

from lskd_cli.config.compose import (
    list_networks,
    list_pairs,
    list_presets,
    load_data,
    load_preset,
    to_yaml,
)
from lskd_cli.config.schema import (
    CTKDMethod,
    Data,
    DKDMethod,
    KDMethod,
    Method,
    MLKDMethod,
    Optimizer,
    Preset,
    Published,
    Schedule,
    Stand,
    VanillaMethod,
)

__all__ = [
    "CTKDMethod",
    "DKDMethod",
    "Data",
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
