"""Distillation methods, one file each."""

from lskd_cli.distillers.base import Distiller, Step
from lskd_cli.distillers.registry import create_distiller, reads_features

__all__ = ["Distiller", "Step", "create_distiller", "reads_features"]
