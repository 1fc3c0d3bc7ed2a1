"""Entry point of ``lskd`` and of ``python -m lskd_cli``, which torchrun needs."""

import os
import sys

from lskd_cli.errors import Interrupted


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback while modules are imported too."""
    # A closed stream is None.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        from lskd_cli.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)


if __name__ == "__main__":
    main()
