"""The command-line interface: one module per command, and what the commands share."""

from lskd_cli.cli.app import app, main

__all__ = ["app", "main"]
