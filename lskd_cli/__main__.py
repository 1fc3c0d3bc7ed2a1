"""python -m lskd_cli."""

from lskd_cli.cli import main

main()
