"""The storage of a search: a journal in its folder, or a database."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from lskd_cli.errors import RequestError, RunError, first_line
from lskd_cli.io.locks import file_lock
from lskd_cli.io.printable import without_passwords

JOURNAL = "journal.log"


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """The storage in a database, or in the journal of a folder without a URL.

    Raises:
        RequestError: the database or the journal cannot be opened.
    """
    path = folder / JOURNAL
    name = storage_name(url, folder)
    try:
        if url is None:
            _remove_truncated_line(path)
            lock: Any = _JournalLock(path)
            return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        _check_url(url)
        return optuna.storages.get_storage(url)
    except RequestError:
        raise
    except ImportError as error:
        raise RequestError(f"{name}: {error.name} is not installed") from None
    except (OSError, ValueError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        cause = first_line(error.__cause__ or error)
        raise RequestError(f"{name}: cannot be opened: {cause}") from None


def _check_url(url: str) -> None:
    try:
        make_url(url)
    except (SQLAlchemyError, ValueError):  # their messages may contain a part of the password
        raise RequestError(
            "--storage: not the URL of a database; in a password, write @ as %40 and : as %3A"
        ) from None


def storage_name(url: str | None, folder: Path) -> str:
    """What messages call the storage: the journal, or the option without a password."""
    return str(folder / JOURNAL) if url is None else f"--storage {without_passwords(url)}"


@contextmanager
def storage_errors(url: str | None, folder: Path) -> Iterator[None]:
    """Describe errors of the storage in one line.

    Raises:
        RunError: the storage cannot be read or written.
    """
    name = storage_name(url, folder)
    try:
        yield
    except (RequestError, RunError):
        raise
    except OSError as error:
        raise RunError(f"{name}: cannot be written: {error.strerror or error}") from error
    except (ValueError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = first_line(error.__cause__ or error)
        raise RunError(f"{name}: cannot be read or written: {cause}") from error


def _remove_truncated_line(path: Path) -> None:
    """Remove a last line that a full disk has cut off, which would make the journal unreadable."""
    if not path.exists():
        return
    with file_lock(path, wait=True):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


class _JournalLock:
    """A lock as Optuna uses it that ends with its process; Optuna's stay after a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack = ExitStack()

    def acquire(self) -> bool:
        self.stack.enter_context(file_lock(self.path, wait=True))
        return True

    def release(self) -> None:
        self.stack.close()
