"""Locks of files and folders, which end with the process that holds them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

_ATTEMPTS = 10  # another process may remove the empty folder again before the lock is created


@contextmanager
def file_lock(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a path, the file ``.NAME.lock`` next to it, and remove it afterwards.

    Empty folders that were created for the lock are removed too.

    Args:
        path: what the lock protects; it need not exist.
        wait: wait until another process releases the lock.

    Raises:
        filelock.Timeout: another process holds the lock, and ``wait`` is False.
        OSError: the lock cannot be created.
    """
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file)
    missing = [folder for folder in path.parents if not folder.exists()]
    for attempt in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=-1 if wait else 0)
            break
        except FileNotFoundError:
            if attempt + 1 == _ATTEMPTS:
                raise
    try:
        yield
    finally:
        # Removed while it is held: a process that waits for it notices and creates another one.
        file.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()
