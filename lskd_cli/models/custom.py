"""User-provided networks, in files (``--model-file``) or installed packages.

A package names the module of a network as an entry point in the group ``lskd.models``; it is
imported when a preset names the network.
"""

import inspect
import re
import tokenize
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lskd_cli.config import execute_plugin_file, load_entry_point, plugin_files
from lskd_cli.errors import RequestError
from lskd_cli.models.entries import MODELS, ModelEntry
from lskd_cli.models.output import Network, Output
from lskd_cli.models.state_dict_names import rename_parameters

ENTRY_POINT_GROUP = "lskd.models"
_NAME = re.compile(r"[A-Za-z][\w-]*")

Create = TypeVar("Create", bound=Callable[..., nn.Module])


def register_model(create: Create) -> Create:
    """Decorate a function or class that creates a network, to make it known by its own name.

    It is called with ``num_classes`` and, if it has such a parameter, ``image_size`` in pixels. The
    network takes (B, 3, S, S) normalized images and returns (B, num_classes) logits. If it has a
    method ``forward_features`` that returns an ``Output``, feature methods can use it.

    Raises:
        RequestError: the name is invalid or that of a built-in network.
    """
    name = create.__name__
    if not _NAME.fullmatch(name):
        raise RequestError(f"model {name!r}: the name must start with a letter")
    if name in _builtin_names():
        raise RequestError(f"model {name}: this name is taken; choose another one")
    path = Path(inspect.getfile(create)).resolve()
    if name in MODELS and MODELS[name].file != path:
        raise RequestError(f"model {name}: also registered by {MODELS[name].file}")
    plugin_files.add(path)
    with tokenize.open(path) as file:
        MODELS[name] = ModelEntry(create, Network.image_size, file=path, source=file.read())
    return create


def _builtin_names() -> list[str]:
    from lskd_cli.models.registry import list_models  # which imports this module

    return list_models()


class CustomModel(Network):
    """A registered network with its own parameter names."""

    can_fuse_bn = False  # an arbitrary forward pass may not be traceable
    all_params_used = False

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.network: Any = network
        self.image_size = image_size
        self.returns_features = False
        rename_parameters(self, {f"network.{key}": key for key in network.state_dict()})

    def enable_features(self) -> bool:
        self.returns_features = hasattr(self.network, "forward_features")
        return self.returns_features

    def forward_features(self, images: Tensor) -> Output:
        """Logits; features too after ``enable_features``."""
        if not self.returns_features:
            return Output(self.network(images))
        output = self.network.forward_features(images)
        if not isinstance(output, Output):
            raise RequestError(
                f"{type(self.network).__name__}.forward_features: must return "
                f"lskd_cli.models.Output, not {type(output).__name__}"
            )
        return output


def load_model_file(path: Path) -> None:
    """Execute a Python file that registers networks.

    Raises:
        RequestError: the file does not exist, fails (the message names the line), or registers
            no network.
    """
    before = dict(MODELS)
    execute_plugin_file(path, "--model-file")
    if before == MODELS:
        raise RequestError(f"{path}: registers no model; decorate a function with @register_model")


def custom_models() -> list[str]:
    """Names of the registered networks, and of those of installed packages."""
    registered = [name for name, entry in MODELS.items() if entry.file is not None]
    return sorted({*registered, *_entry_points()})


def load_custom_model(name: str) -> None:
    """Import the package that registers a network of ``custom_models()``.

    Raises:
        RequestError: the package cannot be imported, or registers no such network.
    """
    load_entry_point("model", _entry_points()[name], MODELS)


def wrap_custom(name: str, entry: ModelEntry, options: dict[str, Any], image_size: int) -> Network:
    """A newly initialized registered network.

    Args:
        name: its name.
        entry: its entry.
        options: arguments of ``entry.create``.
        image_size: size of its images in pixels.

    Raises:
        RequestError: it does not create a network.
    """
    try:
        inspect.signature(entry.create).bind(**options)
    except TypeError as error:
        raise RequestError(f"model {name}: cannot be called with num_classes: {error}") from None
    with torch.device("cpu"):  # it may read values, which meta tensors do not have
        network: Any = entry.create(**options)
    if not isinstance(network, nn.Module):
        raise RequestError(f"model {name}: must create a torch.nn.Module, not {network!r}")
    if isinstance(network, Network):
        network.image_size = image_size
        network.can_fuse_bn = False  # an arbitrary forward pass may not be traceable
        return network
    return CustomModel(network, image_size)


def check_custom_model(name: str, network: Network, num_classes: int) -> None:
    """Check that a registered network can be trained, and returns logits of the right shape.

    Raises:
        RequestError: it has no or shared parameters, or returns something else for one image.
    """
    if name not in custom_models():
        return
    if any(is_lazy(parameter) for parameter in (*network.parameters(), *network.buffers())):
        raise RequestError(f"model {name}: has lazy modules; give all of them their sizes")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RequestError(f"model {name}: has no trainable parameters")
    tensors = network.state_dict(keep_vars=True)
    uses = Counter(map(id, tensors.values()))
    shared = [key for key, tensor in tensors.items() if uses[id(tensor)] > 1]
    if shared:
        raise RequestError(f"model {name}: shares the parameter {shared[0]} between modules")
    was_training = network.training
    with torch.device("cpu"), torch.no_grad():
        logits: Any = network.eval()(torch.zeros(1, 3, network.image_size, network.image_size))
    network.train(was_training)
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RequestError(
            f"model {name}: must return logits of shape (1, {num_classes}) for one image, not "
            f"{found}"
        )


def model_source(name: str) -> str | None:
    """Source code of the file that defines a network; None for all other networks."""
    return MODELS[name].source if name in MODELS else None


@cache
def _entry_points() -> dict[str, EntryPoint]:
    found = entry_points(group=ENTRY_POINT_GROUP)
    return {
        entry.name: entry
        for entry in found
        if _NAME.fullmatch(entry.name) and entry.name not in _builtin_names()
    }
