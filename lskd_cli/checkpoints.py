"""Weights in files: safetensors of our own, pickled ones of others (read without running them)."""

import argparse
import json
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from lskd_cli.download import digest
from lskd_cli.errors import RequestError
from lskd_cli.files import write_atomically
from lskd_cli.models import Network, create_model

# What published checkpoints hold beside tensors: options, and accuracies as numpy scalars.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
]


@dataclass
class Checkpoint:
    """Weights by parameter name, and what is known of them (model, num_classes, dataset, ...)."""

    path: Path
    weights: dict[str, Tensor]
    metadata: dict[str, str]

    @cached_property
    def sha256(self) -> str:
        """Of the file: tells one teacher from another."""
        return digest(self.path)

    def network(self, model: str, classes: int, image_size: int | None = None) -> Network:
        """A network with these weights, in evaluation mode, not to be trained.

        Raises:
            RequestError: the weights are another architecture's, number of classes' or image
                size's.
        """
        network = create_model(model, classes, image_size)
        self.check(model, network)
        network.load_state_dict(self.weights)
        return network.eval().requires_grad_(False)

    def check(self, model: str, network: Network) -> None:
        """Raise a RequestError unless names and shapes are those of the network."""
        wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
        found = {name: tensor.shape for name, tensor in self.weights.items()}
        if wanted == found:
            return
        name = next(n for n in [*wanted, *found] if wanted.get(n) != found.get(n))
        of = f" of a {self.metadata['model']}" if "model" in self.metadata else ""
        has = f"{tuple(found[name])}" if name in found else "missing"
        needs = f"{tuple(wanted[name])}" if name in wanted else "no such parameter"
        raise RequestError(
            f"{self.path}: weights{of} do not fit {model}: {name} is {has}, expected {needs}"
        )


def save_checkpoint(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write weights as safetensors with their metadata, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = _with_sorted_metadata(serialize(plain, metadata))
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _with_sorted_metadata(content: bytes) -> bytes:
    """The same safetensors file with its metadata in the order of their keys.

    The library writes them in an order that changes from call to call; files of equal weights
    should be equal. Format: 8 bytes with the header's length, the header in JSON, the tensors.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def load_checkpoint(path: Path) -> Checkpoint:
    """Weights from a .safetensors file, or from a .pth that ``torch.load`` reads as weights only.

    Raises:
        RequestError: the file is missing, damaged, of another kind, or holds code.
    """
    if not path.is_file():
        raise RequestError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    return Checkpoint(path, read_pickled_weights(path), {})


def _load_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Checkpoint(path, weights, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{path}: not a readable safetensors file: {error}") from None


def read_pickled_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a pickled checkpoint.

    They may lie under ``model``, ``state_dict`` or ``model_state``.

    Nothing in the file is executed: ``torch.load`` builds tensors, and here numpy scalars and
    option namespaces, and refuses everything else.

    Raises:
        RequestError: the file is damaged, holds code, or holds no weights.
    """
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error) or "global" in str(error):
            raise RequestError(
                f"{path}: refused: its pickle asks to run code that weights do not need"
            ) from None
        raise RequestError(f"{path}: not a checkpoint that torch can read") from None
    # A damaged pickle can fail in any way; each is the same to the user.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"{path}: not a checkpoint that torch can read: {reason}") from None
    for key in ("model", "state_dict", "model_state"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise RequestError(f"{path}: holds no weights")
    weights = {str(name).removeprefix("module."): value for name, value in content.items()}
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise RequestError(f"{path}: holds other things than weights under their names")
    return weights
