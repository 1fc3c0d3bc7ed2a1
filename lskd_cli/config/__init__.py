"""Presets: their schema, and loading, composition, overrides and validation."""

from lskd_cli.config.data_settings import DEFAULT_IMAGE_SIZE, Augmentation, Data, data_label
from lskd_cli.config.datasets import check_dataset, find_dataset
from lskd_cli.config.entry_point import load_entry_point
from lskd_cli.config.loading import (
    list_networks,
    list_pairs,
    list_presets,
    load_data,
    load_preset,
    method_defaults,
    to_yaml,
)
from lskd_cli.config.methods.base import FeatureMethodConfig, MethodConfig
from lskd_cli.config.methods.builtin import builtin_methods
from lskd_cli.config.methods.registry import (
    is_feature_method,
    method_names,
    method_title,
    register_method,
)
from lskd_cli.config.options import PrecisionName, TrainingOptions
from lskd_cli.config.overrides import Override
from lskd_cli.config.plugin_errors import format_plugin_error, plugin_files
from lskd_cli.config.plugins import execute_plugin_file, load_method_file
from lskd_cli.config.requests import PresetOptions, requested_preset
from lskd_cli.config.schema import (
    MAX_EPOCHS,
    TWO_CLASSES,
    Optimizer,
    Preset,
    Published,
    Schedule,
    Standardization,
)
from lskd_cli.config.types import Fraction, View

__all__ = [
    "DEFAULT_IMAGE_SIZE",
    "MAX_EPOCHS",
    "TWO_CLASSES",
    "Augmentation",
    "Data",
    "FeatureMethodConfig",
    "Fraction",
    "MethodConfig",
    "Optimizer",
    "Override",
    "PrecisionName",
    "Preset",
    "PresetOptions",
    "Published",
    "Schedule",
    "Standardization",
    "TrainingOptions",
    "View",
    "builtin_methods",
    "check_dataset",
    "data_label",
    "execute_plugin_file",
    "find_dataset",
    "format_plugin_error",
    "is_feature_method",
    "list_networks",
    "list_pairs",
    "list_presets",
    "load_data",
    "load_entry_point",
    "load_method_file",
    "load_preset",
    "method_defaults",
    "method_names",
    "method_title",
    "plugin_files",
    "register_method",
    "requested_preset",
    "to_yaml",
]
