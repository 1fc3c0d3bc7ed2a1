"""Runs the program as a person would type it."""

from dataclasses import dataclass

import pytest

from lskd_cli.cli import main


@dataclass
class Result:
    code: int
    out: str
    err: str


def lskd(capsys: pytest.CaptureFixture[str], *arguments: object) -> Result:
    """The program's exit code, standard output and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Result(int(exit_.value.code or 0), captured.out, captured.err)
