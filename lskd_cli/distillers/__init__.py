"""Distillation methods, one file each, and the base classes for methods of your own."""

from lskd_cli.distillers.base import Distiller, LogitDistiller, StepInputs
from lskd_cli.distillers.creation import create_distiller, takes_spec, uses_features
from lskd_cli.distillers.features import FeatureDistiller, FeatureSpec
from lskd_cli.distillers.functional import distillation_loss
from lskd_cli.distillers.registry import method_source, register

__all__ = [
    "Distiller",
    "FeatureDistiller",
    "FeatureSpec",
    "LogitDistiller",
    "StepInputs",
    "create_distiller",
    "distillation_loss",
    "method_source",
    "register",
    "takes_spec",
    "uses_features",
]
