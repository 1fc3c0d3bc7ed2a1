"""Atomic file writes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lskd_cli.errors import RunError
from lskd_cli.io.atomic import write_atomically, write_text


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


def test_a_new_file_has_the_permissions_of_the_umask(umask: int, tmp_path: Path) -> None:
    write_text(tmp_path / "a", "content")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "previous")

    def fail(temporary: Path) -> None:
        temporary.write_text("partial")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="a: cannot be written: No space left on device"):
        write_atomically(path, fail)
    assert path.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_created_and_one_that_cannot_be_is_reported(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a", "content")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "new" / "a" / "b", "content")


def test_a_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RunError, match="pipe: cannot be written: not a regular file"):
        write_atomically(pipe, lambda path: path.write_text("x"))
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
