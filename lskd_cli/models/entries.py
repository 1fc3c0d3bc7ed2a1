"""The table of networks: what is known of each, beside the functions that create them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True)
class ModelEntry:
    """A network that is created by name.

    Attributes:
        create: takes ``num_classes`` and, if it has such parameters, ``image_size`` in pixels and
            ``drop_path``, the stochastic depth rate of the last layer.
        default_size: image size of the published weights, in pixels.
        max_size: largest supported image size, in pixels.
        is_resizable: whether weights fit images of every supported size.
        file: file that defines a user-provided network; None for built-in ones.
        source: content of this file when it was loaded.
    """

    create: Callable[..., Any]
    default_size: int
    max_size: int | None = None
    is_resizable: bool = True
    file: Path | None = None
    source: str | None = None

    def takes(self, parameter: str) -> bool:
        """Whether ``create`` has a parameter of this name."""
        return parameter in inspect.signature(self.create).parameters


MODELS: dict[str, ModelEntry] = {}  # of all modules that have been imported


def register_family(networks: Mapping[str, Callable[..., nn.Module]], **traits: Any) -> None:
    """Add built-in networks to the table.

    Args:
        networks: the functions that create them, by name.
        traits: fields of ``ModelEntry`` that they share.
    """
    for name, create in networks.items():
        MODELS[name] = ModelEntry(create, **traits)
