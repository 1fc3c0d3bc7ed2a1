"""The worked example of docs/methods.md: a plug-in method, its commands and its test."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import lskd
from tests.registries import own_registries

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


FEW = ("--epochs=1", "--set=data.image_size=16")


def test_the_example_runs_in_short_and_a_run_keeps_its_method(
    small_digits: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every command starts with the registered methods of a new process."""
    monkeypatch.chdir(tmp_path)
    _files(tmp_path)
    outputs = []
    for command in _commands():
        options = [*command[1:], *_shorter_options(command, FEW)]
        with own_registries():
            if command[0] == "lskd":
                result = lskd(capsys, *options)
                assert result.code == 0, result.err
                outputs.append(result.out)
            else:
                outputs.append(_run_tests(tmp_path / command[-1]))
    _check(outputs)
    folder, own = tmp_path / "runs" / "jskd-digits" / "seed0", tmp_path / "jskd.py"
    assert (folder / "method.py").read_text() == own.read_text()
    info = folder / "run.json"
    info.write_text(info.read_text().replace('"state": "done"', '"state": "interrupted"'))
    own.write_text(own.read_text().replace("/ 2\n", "/ 3\n"))
    again = ["train", "--preset=jskd-digits", "--method-file=jskd.py", *FEW]
    with own_registries():
        result = lskd(capsys, *again, "--teacher-checkpoint=runs/teacher-digits/seed0")
    assert result.code == 2
    assert "the method file differs from" in result.err


def _run_tests(file: Path) -> str:
    """Run the tests of a file, and return what pytest would print."""
    names = runpy.run_path(str(file))
    tests = [function for name, function in names.items() if name.startswith("test_")]
    for function in tests:
        function()
    return f"{len(tests)} passed"


@pytest.mark.slow
def test_the_example_runs_as_written(tmp_path: Path) -> None:
    outputs = _run(tmp_path)
    assert len(outputs) == 5
    _check(outputs)
