"""Atomic file writes: a file is either complete or absent; and reading of regular files only."""

import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from lskd_cli.errors import RunError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file in the same folder, then rename it to ``path``.

    The file gets the permissions of any new file: 0666 without the bits of the umask.

    Raises:
        RunError: the file cannot be written (disk full, no permission); ``path`` is unchanged.
    """
    temporary = None
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        temporary.touch(exist_ok=False)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically.

    Raises:
        RunError: the file cannot be written.
    """
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def regular_file(path: Path) -> Path:
    """The path of an existing regular file; anything else, such as a pipe, could block a reader.

    Raises:
        OSError: the path does not exist, or is not a regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path


def remove_temporary_files(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left of writes to files of this name or glob pattern."""
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)
