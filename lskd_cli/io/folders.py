"""Files below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from lskd_cli.errors import RequestError


def walk_files(folder: Path, ancestors: tuple[str, ...] = ()) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below a folder, and the sorted names of its files; subfolders are sorted.

    Symbolic links to folders are followed, except those to a folder that contains them, whose files
    would be found again and again.

    Args:
        folder: where to start.
        ancestors: real paths of the folders above.

    Raises:
        RequestError: a folder cannot be read.
    """
    real = os.path.realpath(folder)
    if real in ancestors:
        return
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: entry.is_dir() for entry in entries}
    except OSError as error:
        raise RequestError(f"{folder}: cannot be read: {error.strerror or error}") from None
    yield folder, sorted(name for name in is_folder if not is_folder[name])
    for name in sorted(name for name in is_folder if is_folder[name]):
        yield from walk_files(folder / name, (*ancestors, real))
