"""The two streams: results on standard output, everything else on standard error.

Of several processes that train one run, the first one speaks.
"""

import sys

from rich.console import Console

from lskd_cli import launch

# Tables are not squeezed where nobody looks at them: in a file, in a pipe.
_FILE_WIDTH = 200
speaks = launch.rank() == 0
out = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, quiet=not speaks)
err = Console(stderr=True)


def say(message: str) -> None:
    """A line for the person at the terminal."""
    if speaks:
        err.print(message, markup=False, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """Error lines: what is wrong and what would be right."""
    for line in message.splitlines():
        err.print("[bold red]error[/] ", end="")
        err.print(line, markup=False, highlight=False, soft_wrap=True)
