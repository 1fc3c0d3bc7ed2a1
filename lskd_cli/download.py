"""Resumable downloads, one process at a time for each target."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lskd_cli.errors import RunError

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte

# Called with the number of bytes on disk and, where the server reports it, the total.
Progress = Callable[[int, int | None], None]


@contextmanager
def download_lock(target: Path) -> Iterator[None]:
    """Hold the only right to download and unpack ``target``; other processes wait here.

    Check for the result again inside the context: the process that held the lock before may have
    produced it.

    Raises:
        RunError: the folder of ``target`` cannot be written.
    """
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise RunError(f"{target.parent}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def download(url: str, target: Path, progress: Progress) -> None:
    """Download ``url`` to ``target`` and resume from the partial file of an earlier attempt.

    The partial file stays when the connection breaks, so the next call resumes there; ``target``
    appears only when the file is complete. Hold ``download_lock(target)`` during the call.

    Raises:
        RunError: no connection, an answer other than the file, or fewer bytes than announced.
    """
    # The name contains the source, so the bytes of two mirrors are never mixed.
    source = hashlib.sha256(url.encode()).hexdigest()[:8]
    partial = target.with_name(f"{target.name}.{source}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        size = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={size}-"} if size else {}
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            is_resumed = getattr(response, "status", 200) == 206
            size = size if is_resumed else 0
            length = response.headers.get("Content-Length")
            total = size + int(length) if length else None
            with partial.open("ab" if is_resumed else "wb") as file:
                progress(size, total)
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    size += len(chunk)
                    progress(size, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the partial file is complete or too long
            partial.unlink()
            return download(url, target, progress)
        raise RunError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(
            f"{url}: {reason}; run the command again to resume, or download the file by other means"
        ) from None
    if total is not None and size != total:
        raise RunError(
            f"{url}: the connection broke after {size} of {total} bytes; run the command again to "
            "resume"
        )
    partial.replace(target)
    return None


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
