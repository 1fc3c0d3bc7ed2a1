"""A local HTTP server that can resume a download, interrupt it, and refuse it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by path.

    Attributes:
        break_after: number of bytes after which the next answer ends; None sends everything.
        etag: version of the files; None sends none.
        requires_same_version: whether If-Range headers are respected.
        delay: seconds before the content is sent.
        ranges: Range headers of all requests.
        resumes: whether Range headers are respected.
        shift: number of bytes by which partial answers start too late.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.break_after: int | None = None
        self.etag: str | None = '"1"'
        self.requires_same_version = True
        self.delay = 0.0
        self.ranges: list[str | None] = []
        self.resumes = True
        self.shift = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.lstrip("/"))
        range_header = self.headers.get("Range")
        self.server.ranges.append(range_header)
        if content is None:
            self.send_error(404)
            return
        start = 0
        etag = self.server.etag
        is_same = self.headers.get("If-Range") == etag or not self.server.requires_same_version
        if range_header and self.server.resumes and is_same:
            start = int(range_header.removeprefix("bytes=").rstrip("-")) + self.server.shift
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag is not None:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        time.sleep(self.server.delay)
        rest = content[start:]
        if self.server.break_after is not None:
            rest = rest[: self.server.break_after]
            self.server.break_after = None
        with suppress(ConnectionError):  # the client has given up
            self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (name in the base class)
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """A server of some files that runs within the context."""
    server = FileServer(files)
    # An interval of the default of 0.5 s would be waited for at the end of each test.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
