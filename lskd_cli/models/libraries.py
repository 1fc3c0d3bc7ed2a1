"""Any classifier of torchvision or timm, as ``torchvision/NAME`` or ``timm/NAME``.

They give logits alone: methods that read features do not take them.
"""

from collections.abc import Callable
from typing import Any

import timm
import torchvision
from torch import Tensor

from lskd_cli.errors import RequestError
from lskd_cli.models.names import rename
from lskd_cli.models.output import Network, Output


class LibraryNetwork(Network):
    """A network of a library under the library's parameter names."""

    foldable = False  # an arbitrary forward pass may not be traceable
    uses_all = False  # some have classifiers for training alone

    def __init__(self, library: str, name: str, num_classes: int, image_size: int) -> None:
        """Make a network, without weights.

        Raises:
            RequestError: it is made for images of another size.
        """
        super().__init__()
        self.network: Any = _MAKERS[library](name, num_classes=num_classes)
        own = fixed_size(library, name)
        if own not in (None, image_size):
            raise RequestError(
                f"data.image_size: {library}/{name} is made for {own} pixels, not {image_size}"
            )
        self.image_size = image_size
        rename(self, {f"network.{key}": key for key in self.network.state_dict()})

    def forward_features(self, images: Tensor) -> Output:
        result = self.network(images)
        return Output(getattr(result, "logits", result))  # a few add auxiliary ones in training


_MAKERS: dict[str, Callable[..., Any]] = {
    "torchvision": lambda name, num_classes: torchvision.models.get_model(
        name, num_classes=num_classes
    ),
    "timm": timm.create_model,
}


def list_library(library: str) -> list[str]:
    """Names of a library's classifiers, without the library's; empty for other libraries."""
    if library == "torchvision":
        return list(torchvision.models.list_models(module=torchvision.models))
    return list(timm.list_models()) if library == "timm" else []


def fixed_size(library: str, name: str) -> int | None:
    """Pixels of the only images that a network takes; None if it takes others too."""
    if library == "torchvision":
        return 224 if name.startswith(("vit_", "maxvit_")) else None  # torchvision's defaults
    settings = timm.get_pretrained_cfg(name)
    return settings.input_size[-1] if settings and settings.fixed_input_size else None
