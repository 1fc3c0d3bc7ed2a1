"""lskd: knowledge distillation with and without logit standardization.

``load_student`` and ``distillation_loss`` are imported on first use, because torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lskd_cli.distillers import distillation_loss
    from lskd_cli.engine.inference.trained_network import load_student

__all__ = ["__version__", "distillation_loss", "load_student"]
__version__ = "0.1.0"

_MODULES = {
    "distillation_loss": "lskd_cli.distillers",
    "load_student": "lskd_cli.engine.inference.trained_network",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
