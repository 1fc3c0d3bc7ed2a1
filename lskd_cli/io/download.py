"""Resumable downloads, one process at a time for each target."""

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.atomic import regular_file, write_text
from lskd_cli.io.locks import file_lock

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_MAX_SIZE = 2 << 30  # bytes; the largest published file has 364 MB
_URL_SCHEMES = ("http://", "https://", "ftp://")


class ArchiveError(RunError):
    """A file has a wrong content, so a retry with the same file would fail too."""


# Called with the number of bytes on disk and, where the server reports it, the total.
Progress = Callable[[int, int | None], None]


def is_url(source: str) -> bool:
    """Whether a source is a URL that can be downloaded, rather than a local path."""
    return source.startswith(_URL_SCHEMES)


def public_url(source: str) -> str:
    """A source without what may be secret: user name, password, query and fragment of a URL.

    Raises:
        RequestError: it begins as a URL, but is none.
    """
    if not is_url(source):
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        raise RequestError("the address is not a valid URL") from None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def with_source(target: Path, source: str) -> Path:
    """A path whose name contains a digest of its source, so that two sources are never mixed."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    return target.with_name(f"{target.stem}.{digest}{target.suffix}")


@contextmanager
def download_lock(target: Path) -> Iterator[None]:
    """Lock the download and unpacking of ``target``; other processes wait here.

    Check for the result again inside the context: the process that held the lock before may have
    produced it.

    Raises:
        RunError: the folder of ``target`` cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(target, wait=True))
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"{target.parent}: cannot be written: {reason}") from None
        yield


@contextmanager
def downloaded(url: str, target: Path, progress: Progress) -> Iterator[Path]:
    """Within the context, the file of a URL, which is removed afterwards.

    It stays if the context ends with another error than an ``ArchiveError``, so that the next
    attempt can use it. Hold ``download_lock(target)`` during the context.

    Args:
        url: URL of the file.
        target: path of the file; a digest of the URL is inserted into its name.
        progress: progress of the download.

    Raises:
        RunError: the download failed.
    """
    file = with_source(target, url)
    if not file.exists():
        download(url, file, progress)
    try:
        yield file
    except ArchiveError:
        file.unlink()
        raise
    file.unlink()


def download(url: str, target: Path, progress: Progress) -> None:
    """Download ``url`` to ``target`` and resume from the partial file of an earlier attempt.

    The partial file stays when the connection breaks, so the next call resumes there if the server
    still has the same file, which its ETag or modification date shows; ``target`` appears only when
    the file is complete. Hold ``download_lock(target)`` during the call.

    Raises:
        RunError: no connection, an answer other than the file, fewer bytes than announced, or more
            than 2 GiB.
    """
    source = public_url(url)
    partial = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        size, total = _receive(url, partial, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and partial.exists():  # the partial file is complete or too long
            partial.unlink()
            return download(url, target, progress)
        raise RunError(f"{source}: the server answered {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(
            f"{source}: {reason}; run the command again to resume, or download the file by other "
            "means"
        ) from None
    if total is not None and size != total:
        raise RunError(
            f"{source}: the connection broke after {size} of {total} bytes; run the command again "
            "to resume"
        )
    partial.replace(target)
    _version_file(partial).unlink(missing_ok=True)
    return None


def _receive(url: str, partial: Path, progress: Progress) -> tuple[int, int | None]:
    """Append what is missing to the partial file; its size, and the announced size of the file."""
    version = _saved_version(partial)
    size = partial.stat().st_size if version and partial.exists() else 0
    headers = {"Range": f"bytes={size}-", "If-Range": version} if version and size else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        is_resumed = getattr(response, "status", 200) == 206
        if is_resumed and not _continues(response.headers, size, version):
            partial.unlink()
            return _receive(url, partial, progress)
        size = size if is_resumed else 0
        length = response.headers.get("Content-Length")
        total = size + int(length) if length else None
        _check_size(total or 0)
        with partial.open("ab" if is_resumed else "wb") as file:
            _save_version(partial, _version(response.headers))
            progress(size, total)
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                size += len(chunk)
                _check_size(size)
                progress(size, total)
    return size, total


def _check_size(size: int) -> None:
    if size > _MAX_SIZE:
        raise ValueError(f"larger than {_MAX_SIZE >> 30} GiB")


def _continues(headers: Message, size: int, version: str | None) -> bool:
    """Whether a partial answer starts where the partial file ends, and has the same version."""
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == size and _version(headers) == version


def _version(headers: Message) -> str | None:
    """What identifies the content that a server sends: a strong ETag, else its date."""
    etag: str | None = headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    date: str | None = headers.get("Last-Modified")
    return date


def _version_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.version")


def _saved_version(partial: Path) -> str | None:
    """The version of a partial file; None if it is unknown, so that nothing can be resumed."""
    try:
        return _version_file(partial).read_text(encoding="utf-8") or None
    except (OSError, UnicodeDecodeError):
        return None


def _save_version(partial: Path, version: str | None) -> None:
    write_text(_version_file(partial), version or "")


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a regular file.

    Raises:
        OSError: it cannot be read.
    """
    state = hashlib.new(algorithm, usedforsecurity=False)
    with regular_file(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
