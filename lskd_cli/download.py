"""Downloads that go on where they broke off, and are checked before they count."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lskd_cli.errors import RunError

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte

# Told the bytes on disk and, where the server says it, their number in the end.
Progress = Callable[[int, int | None], None]


def download(url: str, target: Path, progress: Progress) -> None:
    """Fetch ``url`` into ``target``; bytes that an earlier try left in a part file are kept.

    The part file stays when the connection breaks, so that the next call goes on from there;
    ``target`` appears only when everything has arrived.

    Raises:
        RunError: no connection, an answer other than the file, or fewer bytes than announced.
    """
    # The name tells the source, so that bytes of two mirrors are never put together.
    source = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = target.with_name(f"{target.name}.{source}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            resumed = getattr(response, "status", 200) == 206
            have = have if resumed else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if resumed else "wb") as file:
                progress(have, total)
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress(have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing left to send: the part is already whole, or too long
            part.unlink()
            return download(url, target, progress)
        raise RunError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(
            f"{url}: {reason}; run the command again to go on, or fetch the file by other means"
        ) from None
    if total is not None and have != total:
        raise RunError(
            f"{url}: broke off after {have} of {total} bytes; run the command again to go on"
        )
    part.replace(target)
    return None


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
