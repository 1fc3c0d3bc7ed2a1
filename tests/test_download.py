"""Downloads: complete, resumed, interrupted, refused, and in two processes at once."""

import hashlib
import multiprocessing
import socket
from pathlib import Path

import pytest

from lskd_cli.download import download, download_lock, file_digest
from lskd_cli.errors import RunError
from tests.servers import serving

CONTENT = bytes(range(256)) * 5000


def _silent(done: int, total: int | None) -> None:
    pass


def _part(folder: Path, url: str) -> Path:
    return folder / f"a.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"


def test_a_file_arrives_completely_and_progress_is_reported(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    with serving({"a": CONTENT}) as server:
        download(server.url("a"), tmp_path / "new" / "a", lambda *call: calls.append(call))
    assert (tmp_path / "new" / "a").read_bytes() == CONTENT
    assert calls[0] == (0, len(CONTENT))
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_download_resumes_where_it_stopped(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        server.break_after = 300_000
        with pytest.raises(RunError, match="run the command again to resume"):
            download(server.url("a"), tmp_path / "a", _silent)
        assert not (tmp_path / "a").exists()
        assert next(tmp_path.glob("a.*.part")).stat().st_size == 300_000
        download(server.url("a"), tmp_path / "a", _silent)
        assert server.ranges == [None, "bytes=300000-"]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_server_that_cannot_resume_sends_everything_again(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        _part(tmp_path, server.url("a")).write_bytes(b"x" * 100)
        server.resumes = False
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_discarded(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        _part(tmp_path, server.url("a")).write_bytes(b"x" * (len(CONTENT) + 1))
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_missing_file_is_reported_with_the_answer_of_the_server(tmp_path: Path) -> None:
    with serving({}) as server, pytest.raises(RunError, match="the server answered 404"):
        download(server.url("a"), tmp_path / "a", _silent)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_connection_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
    with pytest.raises(RunError, match="Connection refused") as caught:
        download(url, tmp_path / "a", _silent)
    assert "\n" not in str(caught.value)


def test_a_digest_is_the_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "a") == known


def _fetch(url: str, target: Path) -> None:
    with download_lock(target):
        if not target.exists():
            download(url, target, _silent)


def test_two_processes_download_a_file_once(tmp_path: Path) -> None:
    target = tmp_path / "a"
    context = multiprocessing.get_context("spawn")
    with serving({"a": CONTENT}) as server:
        server.delay = 0.2
        url = server.url("a")
        processes = [context.Process(target=_fetch, args=(url, target)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        assert server.ranges == [None]
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"), download_lock(tmp_path / "file" / "a"):
        pass
