"""Weight files: reading and writing safetensors, and loading pickled checkpoints safely."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from lskd_cli.config import Data, load_data
from lskd_cli.config.datasets import DATASETS
from lskd_cli.errors import RequestError, first_line
from lskd_cli.io.atomic import write_atomically
from lskd_cli.io.download import file_digest
from lskd_cli.io.printable import short_repr
from lskd_cli.models import (
    Network,
    create_model,
    library_preprocessing,
    load_pretrained,
)
from lskd_cli.pickled_weights import read_pickled_weights
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.run_paths import PRETRAINED, check_exists, weights_file

# Prefixes of all names of weights that wrappers add.
_PREFIXES = ("module.", "_orig_mod.", "model.", "student.", "net.", "network.", "backbone.")
_MAX_CLASSES = 1_000_000
_MAX_VALUES = 1 << 33  # of one tensor

# Beginnings of files that are often taken for weights, and what to do.
_OTHER_FILES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights; run 'git lfs pull'"),
    (b"<!doctype html", "is an HTML page, not weights; download the file itself"),
    (b"<html", "is an HTML page, not weights; download the file itself"),
    (b"\x1f\x8b", "is compressed with gzip; decompress it"),
)
_TAR_MAGIC, _TAR_OFFSET = b"ustar", 257

# Built-in networks whose weights are part of lskd, for CIFAR-100.
_OWN_WEIGHTS = {"resnet56": Path(__file__).parent / "pretrained" / "resnet56.safetensors"}

# Entry of a safetensors file's metadata: SHA-256 of the rest of the header and of the tensors.
_DIGEST = "content_sha256"


@dataclass
class Checkpoint:
    """Weights by parameter name, and their metadata (model, num_classes, dataset, ...).

    Attributes:
        path: the file, or ``pretrained``.
        weights: tensors by parameter name.
        metadata: entries of the file's header.
        digest: SHA-256 of the content of the file; None if it is computed when it is needed.
    """

    path: Path
    weights: dict[str, Tensor]
    metadata: dict[str, str]
    digest: str | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, which identifies a teacher."""
        return self.digest or file_digest(self.path)

    @property
    def top1(self) -> float | None:
        """Top-1 test accuracy in the metadata, percent; None if it is missing or no percentage."""
        try:
            top1 = float(self.metadata.get("top1", ""))
        except ValueError:
            return None
        return top1 if 0 <= top1 <= 100 else None

    def num_classes(self) -> int | None:
        """Number of classes in the metadata; None if there is none.

        Raises:
            RequestError: it is no possible number.
        """
        stored = self.metadata.get("num_classes")
        if stored is None:
            return None
        is_number = (
            stored.isascii() and stored.isdecimal() and len(stored) <= len(str(_MAX_CLASSES))
        )
        if not (is_number and 1 <= int(stored) <= _MAX_CLASSES):
            raise RequestError(
                f"{self.path}: metadata: num_classes: must be 1 to {_MAX_CLASSES}, not "
                f"{short_repr(stored)}"
            )
        return int(stored)

    def class_names(self) -> list[str]:
        """Names of the classes in the metadata; empty if there are none.

        Raises:
            RequestError: the metadata is corrupt.
        """
        try:
            names = json.loads(self.metadata.get("classes", "[]"))
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(map(_is_name, names)):
            raise RequestError(f"{self.path}: metadata: classes: not a list of names")
        return names

    def preprocessing(self, model: str, data: Data, image_size: int) -> Preprocessing:
        """Preprocessing of the images for these weights.

        It is stored in the metadata of every file that lskd writes. Other weights of torchvision's
        and timm's networks have their library's preprocessing, and all others that of the data.

        Args:
            model: network of the weights.
            data: the data set, for weights that do not store their preprocessing.
            image_size: input size in pixels in that case.

        Raises:
            RequestError: the metadata is corrupt.
        """
        stored = self.metadata.get("preprocessing")
        if stored is not None:
            try:
                return Preprocessing.from_json(stored)
            except (ValueError, TypeError, RecursionError) as error:
                raise RequestError(f"{self.path}: metadata: preprocessing: {error}") from None
        name = self.metadata.get("dataset", "")
        dataset = DATASETS.get(name)
        if dataset is not None and not dataset.is_custom:
            data = load_data(name, model)  # on which the network was trained
        # Files of lskd 0.1.0 name their preset; the data then determined the preprocessing.
        from_library = None if "preset" in self.metadata else library_preprocessing(model)
        return from_library or Preprocessing.of_data(data, image_size)

    def load_network(self, model: str, num_classes: int, image_size: int | None = None) -> Network:
        """A network with these weights, in evaluation mode, without gradients.

        Raises:
            RequestError: the weights belong to another architecture, number of classes or image
                size, or are not finite.
        """
        network = create_model(model, num_classes, image_size)
        weights = self.weights_for(network)
        self.check(model, network, weights)
        network.load_state_dict(weights)
        return network.eval().requires_grad_(False)

    def check_finite(self) -> None:
        """Check that all weights are finite.

        Raises:
            RequestError: a weight is not finite; the message names it.
        """
        bad = first_non_finite(self.weights)
        if bad is not None:
            raise RequestError(f"{self.path}: corrupt: {bad} contains values that are not finite")

    def weights_for(self, network: Network) -> dict[str, Tensor]:
        """The weights under the names of a network.

        If no name is that of a parameter, the prefixes of wrappers are removed, such as those of
        ``torch.compile`` and Lightning. Batch norms of old versions have no counts of batches.
        """
        expected = network.state_dict()
        weights = self.weights
        while not weights.keys() & expected.keys():
            prefix = next((p for p in _PREFIXES if any(n.startswith(p) for n in weights)), None)
            if prefix is None:
                break
            weights = {n.removeprefix(prefix): weights[n] for n in weights if n.startswith(prefix)}
        counts = {name: t for name, t in expected.items() if name.endswith("num_batches_tracked")}
        return {**counts, **weights}

    def check(self, model: str, network: Network, weights: Mapping[str, Tensor]) -> None:
        """Check that all weights are finite and have the names and shapes of a network.

        Raises:
            RequestError: names or shapes differ; the message names the first difference.
        """
        self.check_finite()
        expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
        actual = {name: tensor.shape for name, tensor in weights.items()}
        if expected == actual:
            return
        name = next(n for n in [*expected, *actual] if expected.get(n) != actual.get(n))
        source = f" of {self.metadata['model']}" if "model" in self.metadata else ""
        actual_text = f"{tuple(actual[name])}" if name in actual else "missing"
        expected_text = f"{tuple(expected[name])}" if name in expected else "no such parameter"
        raise RequestError(
            f"{self.path}: weights{source} do not fit {model}: {name} is {actual_text}, expected "
            f"{expected_text}"
        )


def first_non_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a value that is not finite; None if all are finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return name
    return None


def _is_name(value: Any) -> bool:
    """Whether a value is a text; bytes of the name of a folder may be no UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def save_checkpoint(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write weights and metadata to a safetensors file atomically.

    Raises:
        RunError: the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # Bytes of a path may be no text.
    metadata = {k: v.encode(errors="backslashreplace").decode() for k, v in metadata.items()}
    content = _with_digest(serialize(tensors, metadata))
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _with_digest(content: bytes) -> bytes:
    """The same safetensors file with sorted metadata keys and the digest of its content.

    The library writes the keys in an order that changes from call to call, but equal weights should
    give equal files. The format is 8 bytes with the header's length, the JSON header, the tensors.
    """
    header, tensors = _split(content)
    header["__metadata__"][_DIGEST] = _content_digest(header, tensors)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + tensors


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _content_digest(header: Mapping[str, Any], tensors: bytes) -> str:
    metadata = {key: value for key, value in header["__metadata__"].items() if key != _DIGEST}
    described = json.dumps({**header, "__metadata__": metadata}, sort_keys=True)
    state = hashlib.sha256(described.encode())
    state.update(tensors)
    return state.hexdigest()


def load_weights(source: Path, model: str | None) -> Checkpoint:
    """The weights of a file or run folder, or those of lskd or a library for ``pretrained``.

    Args:
        source: path, or ``pretrained``.
        model: network of the pretrained weights.

    Raises:
        RequestError: the file cannot be read, or the network has no pretrained weights.
        RunError: the pretrained weights cannot be downloaded.
    """
    if str(source) != PRETRAINED or model is None:
        return load_checkpoint(weights_file(source))
    if model in _OWN_WEIGHTS:
        return load_checkpoint(_OWN_WEIGHTS[model])
    weights, metadata = load_pretrained(model)
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    digest = hashlib.sha256(serialize(contiguous)).hexdigest()
    return Checkpoint(source, weights, metadata, digest)


def check_classes(weights: Checkpoint, classes: Sequence[str]) -> None:
    """Check that weights were trained on the classes of custom images, if they name theirs.

    Raises:
        RequestError: they were trained on other classes; the message names the first difference.
    """
    for trained_class, folder_class in zip(weights.class_names(), classes, strict=False):
        if trained_class != folder_class:
            raise RequestError(
                f"{weights.path}: trained on other classes: {trained_class!r} where --data-dir has "
                f"{folder_class!r}"
            )


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a safetensors file, or a pickled one with ``torch.load(weights_only=True)``.

    The content of the file decides, not its name. A safetensors file that lskd has written contains
    a digest, which is checked.

    Raises:
        RequestError: the file is missing, corrupt, of another format, or contains code.
    """
    check_exists(path)
    if not path.is_file():
        raise RequestError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            start = file.read(_TAR_OFFSET + len(_TAR_MAGIC))
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    for beginning, explanation in _OTHER_FILES:
        if start.lower().startswith(beginning):
            raise RequestError(f"{path}: {explanation}")
    if start[_TAR_OFFSET:] == _TAR_MAGIC:
        raise RequestError(f"{path}: is a tar archive; unpack it, and give one of its files")
    # A safetensors file starts with the length of its JSON header.
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        checkpoint = load_safetensors(path)
    else:
        checkpoint = Checkpoint(path, read_pickled_weights(path), {})
    for name, tensor in checkpoint.weights.items():
        kind = _unsupported_kind(tensor)
        if kind is not None:
            raise RequestError(f"{path}: {name} is {kind}, which no network has")
    return checkpoint


def _unsupported_kind(tensor: Tensor) -> str | None:
    if tensor.layout is not torch.strided:
        return "a sparse tensor"
    if tensor.is_quantized:
        return "a quantized tensor"
    if tensor.is_meta:
        return "a tensor without data"
    if tensor.is_complex():
        return "a complex tensor"
    if tensor.numel() > _MAX_VALUES or tensor.numel() > tensor.untyped_storage().nbytes():
        return "an expanded tensor"
    return None


def load_safetensors(path: Path) -> Checkpoint:
    """Load a safetensors file of any name.

    Raises:
        RequestError: the file is corrupt or of another format.
    """
    try:
        # Not mapped into memory: the process would be killed if the file were truncated meanwhile.
        content = path.read_bytes()
        weights = deserialize(content)
    # Besides its own errors, the library raises those of PyTorch for impossible shapes.
    except Exception as error:
        raise RequestError(
            f"{path}: not a readable safetensors file: {first_line(error)}"
        ) from None
    header, tensors = _split(content)
    metadata = header.get("__metadata__") or {}
    if _DIGEST in metadata and metadata[_DIGEST] != _content_digest(header, tensors):
        raise RequestError(f"{path}: corrupt: its content does not match its digest")
    metadata = {key: value for key, value in metadata.items() if key != _DIGEST}
    # Of the content that was read: another run may replace the file.
    return Checkpoint(path, weights, metadata, hashlib.sha256(content).hexdigest())
