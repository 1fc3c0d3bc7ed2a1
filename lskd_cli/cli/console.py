"""The two output streams: results on standard output, everything else on standard error.

With several processes, only the main process prints.
"""

import sys

from rich.console import Console

from lskd_cli import dist_env

# Tables in a file or a pipe are not narrowed to a terminal.
_FILE_WIDTH = 200
is_main_process = dist_env.rank() == 0
out = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, quiet=not is_main_process)
err = Console(stderr=True)


def info(message: str) -> None:
    """Print a message for the user."""
    if is_main_process:
        err.print(message, markup=False, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print an error, one line for each line of the message."""
    for line in message.splitlines():
        err.print("[bold red]error[/] ", end="")
        err.print(line, markup=False, highlight=False, soft_wrap=True)
