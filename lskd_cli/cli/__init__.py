"""The command line: one file a command; each parses, calls, prints."""

from lskd_cli.cli.app import app, main

__all__ = ["app", "main"]
