"""The two streams: results on standard output, everything else on standard error."""

import sys

from rich.console import Console

# Tables are not squeezed where nobody looks at them: in a file, in a pipe.
_FILE_WIDTH = 200
out = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
err = Console(stderr=True)


def say(message: str) -> None:
    """A line for the person at the terminal."""
    err.print(message, markup=False, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """Error lines: what is wrong and what would be right."""
    for line in message.splitlines():
        err.print("[bold red]error[/] ", end="")
        err.print(line, markup=False, highlight=False, soft_wrap=True)
