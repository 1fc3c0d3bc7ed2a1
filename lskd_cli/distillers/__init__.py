"""Distillation methods, one file each, and what a method of one's own is made of."""

from lskd_cli.distillers.base import Distiller, LogitDistiller, Step
from lskd_cli.distillers.features import FeatureDistiller, Pair
from lskd_cli.distillers.registry import create_distiller, method_source, reads_features, register

__all__ = [
    "Distiller",
    "FeatureDistiller",
    "LogitDistiller",
    "Pair",
    "Step",
    "create_distiller",
    "method_source",
    "reads_features",
    "register",
]
