"""Files below a folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lskd_cli.errors import RequestError


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; also for paths that are too long for the system."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises an error for long names)


def walk_files(
    folder: Path, warn: Callable[[str], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """A folder and each one below it, in alphabetical order, with the sorted names of its files.

    Links to folders are followed, but not to a folder that contains the link: its files would be
    found again and again.

    Args:
        folder: where to start.
        warn: called for a subfolder that cannot be read and is left out; None raises the error.

    Raises:
        RequestError: the folder cannot be read, or a subfolder without ``warn``.
    """
    real = os.path.realpath(folder)
    yield from _walk(folder, (real, *map(str, Path(real).parents)), warn, is_start=True)


def _walk(
    folder: Path,
    ancestors: tuple[str, ...],
    warn: Callable[[str], None] | None,
    is_start: bool = False,
) -> Iterator[tuple[Path, list[str]]]:
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        message = f"{folder}: cannot be read: {error.strerror or error}"
        if warn is None or is_start:
            raise RequestError(message) from None
        warn(message)
        return
    yield folder, sorted(name for name in is_folder if not is_folder[name])
    for name in sorted(name for name in is_folder if is_folder[name]):
        real = os.path.realpath(folder / name)
        if real not in ancestors:
            yield from _walk(folder / name, (*ancestors, real), warn)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; a link that leads nowhere is a file, as for ``os.walk``."""
    try:
        return entry.is_dir()
    except OSError:
        return False
