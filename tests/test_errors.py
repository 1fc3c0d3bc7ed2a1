"""The exceptions that end a command."""

import pytest

from lskd_cli.errors import first_line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no kernel image\nmore", "no kernel image"),
        ("\n  no kernel image  ", "no kernel image"),
        ("", "RuntimeError"),
        (" \n", "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(message: str, line: str) -> None:
    assert first_line(RuntimeError(message)) == line
