"""Classifiers of torchvision and timm, named ``torchvision/NAME`` and ``timm/NAME``."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor

from lskd_cli.errors import RequestError
from lskd_cli.models.external_features import Extract, timm_extractor, torchvision_extractor
from lskd_cli.models.output import Network, Output
from lskd_cli.models.state_dict_names import rename_parameters


class ExternalModel(Network):
    """A network of a library, with the library's parameter names."""

    can_fuse_bn = False  # an arbitrary forward pass may not be traceable
    all_params_used = False  # some networks have auxiliary classifiers for training

    def __init__(self, library: str, name: str, num_classes: int, image_size: int) -> None:
        """Create a network without pretrained weights.

        Raises:
            RequestError: the network needs images of another size.
        """
        super().__init__()
        self.network: Any = _CREATE[library](name, num_classes=num_classes)
        required_size = fixed_input_size(library, name)
        if required_size not in (None, image_size):
            raise RequestError(
                f"data.image_size: {library}/{name} needs images of {required_size} pixels, not "
                f"{image_size}"
            )
        self.image_size = image_size
        self.library, self.name = library, name
        self.extract: Extract | None = None
        rename_parameters(self, {f"network.{key}": key for key in self.network.state_dict()})

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExternalModel":
        """A copy whose features are those of the copied weights."""
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        state = {key: value for key, value in self.__dict__.items() if key != "extract"}
        copied.__dict__.update(deepcopy(state, memo))
        copied.extract = None
        if self.extract is not None:
            copied.enable_features()
        return copied

    def enable_features(self) -> bool:
        if self.extract is None and self.library == "timm":
            self.extract = timm_extractor(self.network)
        elif self.extract is None:
            self.extract = torchvision_extractor(self.network, self.name, self.image_size)
        return self.extract is not None

    def forward_features(self, images: Tensor) -> Output:
        """Logits; features too after ``enable_features``."""
        if self.extract is not None:
            return self.extract(images)
        result = self.network(images)
        return Output(getattr(result, "logits", result))  # auxiliary logits come in a named tuple


def _create_torchvision(name: str, num_classes: int) -> Any:
    options: dict[str, Any] = {"num_classes": num_classes}
    if name in ("inception_v3", "googlenet"):  # as torchvision does for its pretrained weights
        options["transform_input"] = True
    try:
        return torchvision.models.get_model(name, **options)
    except NotImplementedError:  # RegNets compute their widths with tensors, which meta refuses
        with torch.device("cpu"):
            network = torchvision.models.get_model(name, **options)
        return network.to("meta")


_CREATE: dict[str, Callable[..., Any]] = {
    "torchvision": _create_torchvision,
    "timm": timm.create_model,
}


def list_external_models(library: str) -> list[str]:
    """Names of the classifiers of torchvision or timm; empty for any other library."""
    if library == "torchvision":
        return list(torchvision.models.list_models(module=torchvision.models))
    return list(timm.list_models()) if library == "timm" else []


def is_external_model(library: str, name: str) -> bool:
    """Whether a library has a classifier; timm's names may have the tag of pretrained weights."""
    if library == "timm" and "." in name:
        return name in timm.list_pretrained()
    return name in list_external_models(library)


def fixed_input_size(library: str, name: str) -> int | None:
    """The only image size that a network accepts, in pixels; None if it accepts several."""
    if library == "torchvision":
        return 224 if name.startswith(("vit_", "maxvit_")) else None  # torchvision's defaults
    config = timm.get_pretrained_cfg(name)
    return config.input_size[-1] if config and config.fixed_input_size else None
