"""Entry point of ``python -m lskd_cli``, which torchrun needs."""

from lskd_cli.cli import main

main()
