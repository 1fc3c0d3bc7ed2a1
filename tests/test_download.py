"""Downloads: whole, resumed, broken, refused."""

import hashlib
import socket
from pathlib import Path

import pytest

from lskd_cli.download import digest, download
from lskd_cli.errors import RunError
from tests.servers import serving

CONTENT = bytes(range(256)) * 5000


def _silent(done: int, total: int | None) -> None:
    pass


def _part(folder: Path, url: str) -> Path:
    return folder / f"a.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"


def test_a_file_arrives_whole_and_its_progress_is_told(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving({"a": CONTENT}) as server:
        download(server.url("a"), tmp_path / "new" / "a", lambda *told: seen.append(told))
    assert (tmp_path / "new" / "a").read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        server.break_after = 300_000
        with pytest.raises(RunError, match="run the command again to go on"):
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


def test_a_part_that_is_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        _part(tmp_path, server.url("a")).write_bytes(b"x" * (len(CONTENT) + 1))
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_missing_file_is_told_with_the_servers_answer(tmp_path: Path) -> None:
    with serving({}) as server, pytest.raises(RunError, match="the server answered 404"):
        download(server.url("a"), tmp_path / "a", _silent)
    assert list(tmp_path.iterdir()) == []


def test_no_connection_is_told_in_a_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
    with pytest.raises(RunError, match="Connection refused") as caught:
        download(url, tmp_path / "a", _silent)
    assert "\n" not in str(caught.value)


def test_a_digest_is_the_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(tmp_path / "a") == known
