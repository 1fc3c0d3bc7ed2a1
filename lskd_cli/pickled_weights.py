"""Safe loading of the files of ``torch.save``, which are pickles."""

import argparse
import datetime
import pathlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lskd_cli.errors import RequestError, first_line


def _plain_dict(factory: object = None) -> dict[Any, Any]:
    """Stands for ``collections.defaultdict``, which ``torch.load`` cannot fill."""
    return {}


# What checkpoints contain besides tensors: options, paths, dates, histories, and NumPy arrays.
_SAFE_GLOBALS: list[Any] = [
    argparse.Namespace,
    (_plain_dict, "collections.defaultdict"),
    list,
    dict,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(dtype)) for dtype in ("f4", "f8", "i4", "i8", "u1", "?")),
    *(
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, function in (
            ("scalar", np.float64(0).__reduce__()[0]),
            ("_reconstruct", np.zeros(1).__reduce__()[0]),
        )
    ),
]
# Keys of the weights in a checkpoint.
_NESTED = ("model", "state_dict", "model_state", "model_state_dict", "net", "network", "weights")


def check_torch_archive(path: Path) -> None:
    """Check the checksums of a file of ``torch.save``, which ``torch.load`` does not check.

    Files of PyTorch before 1.6 are pickles without checksums and pass.

    Raises:
        ValueError: a member of the ZIP archive is corrupt or compressed.
        zipfile.BadZipFile: the archive is corrupt.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            # torch.save does not compress; a compressed member could fill the memory.
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
        corrupt = archive.testzip()
    if corrupt is not None:
        raise ValueError(f"wrong checksum of {corrupt}")


def read_pickled_weights(path: Path) -> dict[str, Tensor]:
    """Load the weights of a pickled checkpoint, at the top level or in a nested dictionary.

    Nothing in the file is executed: ``torch.load`` constructs tensors, NumPy scalars and arrays,
    options, paths and dates, and refuses everything else.

    Raises:
        RequestError: the file is corrupt, contains code, or contains no weights.
    """
    try:
        check_torch_archive(path)
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error) or "global" in str(error):
            raise RequestError(f"{path}: refused: the file contains executable code") from None
        raise RequestError(f"{path}: not a checkpoint that torch can read") from None
    # A corrupt pickle can raise any exception; all mean the same to the user.
    except Exception as error:
        raise RequestError(
            f"{path}: not a checkpoint that torch can read: {first_line(error)}"
        ) from None
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise RequestError(f"{path}: contains no weights")
    weights = {str(name): value for name, value in content.items()}
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise RequestError(f"{path}: contains values that are not tensors")
    return weights
