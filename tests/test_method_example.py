"""The worked example of docs/methods.md: a plug-in method, its commands and its test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
EXAMPLE = TEXT.partition("## Your own method")[2]


def _files(folder: Path) -> None:
    """Write each block of Python under the name in its first line."""
    for block in re.findall(r"```python\n(.*?)```", EXAMPLE, re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None
        (folder / name[1]).write_text(block)


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", EXAMPLE, re.DOTALL)
    return [line.split()[1:] for block in blocks for line in block.splitlines()]


def _ended(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    program = {"lskd": ["-m", "lskd_cli"], "python": []}[command[0]]
    return subprocess.run(
        [sys.executable, *program, *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def _typed(command: list[str], folder: Path) -> str:
    done = _ended(command, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(folder: Path, *shorter: str) -> list[str]:
    _files(folder)
    return [
        _typed([*command, *_shorter_options(command, shorter)], folder) for command in _commands()
    ]


def _shorter_options(command: list[str], shorter: tuple[str, ...]) -> tuple[str, ...]:
    if not shorter or not {"train", "--train"} & set(command):
        return ()
    # A shortened teacher has to be selected explicitly.
    teacher = ("--teacher-checkpoint=runs/teacher-digits/seed0",)
    return (*shorter, *(teacher if "compare" in command else ()))


def _check(outputs: list[str]) -> None:
    _, dry, compared, again, tested = outputs
    assert "name: jskd\n" in dry
    # The table at once, and later without the file.
    for table in (compared, again):
        assert re.search(r"(JSKD|jskd) +\d+ +1 +[\d.]+ +[\d.]+", table)
        assert re.search(r" KD +\d+ +1 +[\d.]+ +[\d.]+", table)
    assert "2 passed" in tested


FEW = ("--epochs=1", "--limit-train=200")


def test_the_example_runs_in_short_and_a_run_keeps_its_method(tmp_path: Path) -> None:
    _check(_run(tmp_path, *FEW))
    folder, own = tmp_path / "runs" / "jskd-digits" / "seed0", tmp_path / "jskd.py"
    assert (folder / "method.py").read_text() == own.read_text()
    info = folder / "run.json"
    info.write_text(info.read_text().replace('"state": "done"', '"state": "interrupted"'))
    own.write_text(own.read_text().replace("/ 2\n", "/ 3\n"))
    command = ["lskd", "train", "--preset=jskd-digits", "--method-file=jskd.py", *FEW]
    command += ["--teacher-checkpoint=runs/teacher-digits/seed0"]
    done = _ended(command, tmp_path)
    assert done.returncode == 2
    assert "the method file differs from" in done.stderr


@pytest.mark.slow
def test_the_example_runs_as_written(tmp_path: Path) -> None:
    outputs = _run(tmp_path)
    assert len(outputs) == 5
    _check(outputs)
