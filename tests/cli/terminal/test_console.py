"""The output streams of the command line, in a terminal."""

import io
import os
import pty
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from lskd_cli.cli.terminal.console import _OptionalStream
from tests.engine.helpers import SMALL_IMAGES
from tests.workers import run_lskd, start


class _Terminal(io.StringIO):
    """Standard error that looks like a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_live_display_reaches_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # While it is shown, rich replaces sys.stderr by a file that prints to the same console.
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(file=_OptionalStream(lambda: sys.stderr), width=40)  # type: ignore[arg-type]
    with Live("training", console=console, auto_refresh=False) as live:
        console.print("message")
        live.update("finished", refresh=True)
    text = terminal.getvalue()
    assert text.count("message") == 1
    assert "training" in text
    assert "finished" in text


def test_a_training_in_a_terminal_shows_its_progress(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    options = ["--preset", "alone-digits", "--epochs", "1", "--limit-train", "64"]
    options += ["--set", SMALL_IMAGES]
    terminal = Path(os.ttyname(slave))
    process = start(
        run_lskd, "train", *options, "--runs-dir", str(tmp_path),
        environment={"COLUMNS": "120", "LINES": "30"}, out=terminal, err=terminal,
    )  # fmt: skip
    shown = os.read(master, 4096)  # the process has opened the terminal
    os.close(slave)
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # Linux reports the end of a closed terminal as an error
        pass
    os.close(master)
    process.join()
    assert process.exitcode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "resnet8 on digits (64 training images)" in text
    assert re.search(r"training .* 64/64", text)
    assert re.search(r"alone-digits +\d+\.\d{4} .*\(epoch 1\)", text)
    assert "RecursionError" not in text
