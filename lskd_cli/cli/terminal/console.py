"""The two output streams: results on standard output, everything else on standard error.

With several processes, only the main process prints.
"""

import json
import os
import sys
from io import TextIOBase
from typing import Any, TextIO

from pydantic_core import to_jsonable_python
from rich.console import Console

from lskd_cli.engine.devices import dist_env
from lskd_cli.io.printable import printable

# Tables in a file or a pipe are not narrowed to a terminal.
_FILE_WIDTH = 200
_MAX_LINE = 1000  # characters of a line of a message
is_main_process = dist_env.rank() == 0
if os.environ.get("COLUMNS") == "0":  # of a terminal without a size; rich would print nothing
    del os.environ["COLUMNS"]


class _OptionalStream(TextIOBase):
    """A stream whose reader may disappear, with a closed terminal or pipe, without an error."""

    def __init__(self, get_stream: Any) -> None:
        self.get_stream = get_stream
        self.is_lost = False

    @property
    def stream(self) -> TextIO:
        stream = self.get_stream()
        # While a live display is shown, rich replaces the stream by one that prints to the console,
        # whose file is this one.
        original: TextIO = getattr(stream, "rich_proxied_file", stream)
        return original

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def isatty(self) -> bool:
        return not self.is_lost and self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        if not self.is_lost:
            try:
                self.stream.write(text)
            except (OSError, ValueError):  # ValueError: the stream was closed
                self.is_lost = True
        return len(text)

    def flush(self) -> None:
        if not self.is_lost:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self.is_lost = True


out = Console(
    width=None if sys.stdout.isatty() else _FILE_WIDTH, quiet=not is_main_process, emoji=False
)
# Progress and messages: training continues when nobody reads them any more.
err = Console(file=_OptionalStream(lambda: sys.stderr), emoji=False)  # type: ignore[arg-type]


def info(message: str) -> None:
    """Print a message for the user."""
    if is_main_process:
        for line in message.splitlines():
            err.print(_message_line(line), markup=False, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print an error, one line for each line of the message."""
    for line in message.splitlines():
        err.print("[bold red]error[/] ", end="")
        err.print(_message_line(line), markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null.

    Only a terminal gets colors. Bytes of file names that are not UTF-8 become surrogate escapes.
    """
    plain = to_jsonable_python(value, inf_nan_mode="null")
    has_surrogates = any(
        "\ud800" <= char <= "\udfff" for char in json.dumps(plain, ensure_ascii=False)
    )
    out.print_json(data=plain, highlight=sys.stdout.isatty(), ensure_ascii=has_surrogates)


def _message_line(line: str) -> str:
    """A line of a message without control characters, and not longer than a screen."""
    text = printable(line)
    half = _MAX_LINE // 2
    return text if len(text) <= _MAX_LINE else f"{text[:half]} ... {text[-half:]}"
