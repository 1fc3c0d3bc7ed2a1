"""Entry point of ``lskd`` and of ``python -m lskd_cli``, which torchrun needs."""

import sys

from lskd_cli.errors import Interrupted


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback while modules are imported too."""
    try:
        from lskd_cli.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)


if __name__ == "__main__":
    main()
