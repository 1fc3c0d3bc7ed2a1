"""Downloads: complete, resumed, interrupted, refused, and in two processes at once."""

import multiprocessing
import socket
from pathlib import Path

import pytest

from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.download import download, download_lock, file_digest, public_url
from tests.servers import serving

CONTENT = bytes(range(256)) * 5000


def _silent(done: int, total: int | None) -> None:
    pass


def _write_partial(folder: Path, content: bytes) -> None:
    (folder / "a.part").write_bytes(content)
    (folder / "a.part.version").write_text('"1"')


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
        assert (tmp_path / "a.part").stat().st_size == 300_000
        download(server.url("a"), tmp_path / "a", _silent)
        assert server.ranges == [None, "bytes=300000-"]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_server_that_cannot_resume_sends_everything_again(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        _write_partial(tmp_path, b"x" * 100)
        server.resumes = False
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_discarded(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        _write_partial(tmp_path, b"x" * (len(CONTENT) + 1))
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("honest", [True, False], ids=["If-Range", "no If-Range"])
def test_a_file_that_changed_between_two_parts_is_downloaded_again(
    tmp_path: Path, honest: bool
) -> None:
    with serving({"a": CONTENT}) as server:
        server.break_after = 300_000
        with pytest.raises(RunError):
            download(server.url("a"), tmp_path / "a", _silent)
        server.files["a"] = CONTENT[::-1]
        server.etag = '"2"'
        server.requires_same_version = honest
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_without_a_version_nothing_is_resumed(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        server.etag, server.break_after = None, 300_000
        with pytest.raises(RunError):
            download(server.url("a"), tmp_path / "a", _silent)
        download(server.url("a"), tmp_path / "a", _silent)
        assert server.ranges == [None, None]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_answer_from_another_position_is_not_appended(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        _write_partial(tmp_path, CONTENT[:100])
        server.shift = 7
        download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_connection_that_breaks_early_keeps_what_arrived(tmp_path: Path) -> None:
    with serving({"a": CONTENT}) as server:
        for _ in range(2):
            server.break_after = 1000
            with pytest.raises(RunError):
                download(server.url("a"), tmp_path / "a", _silent)
    assert (tmp_path / "a.part").read_bytes() == CONTENT[:2000]


def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lskd_cli.io.download._MAX_SIZE", 1000)
    with serving({"a": CONTENT}) as server, pytest.raises(RunError, match="larger than"):
        download(server.url("a"), tmp_path / "a", _silent)
    assert not (tmp_path / "a").exists()


def test_secrets_of_a_url_are_removed() -> None:
    url = "https://user:password@host:8080/folder/file.tar?token=secret#part"
    assert public_url(url) == "https://host:8080/folder/file.tar"
    assert public_url("folder/file?.tar") == "folder/file?.tar"
    with pytest.raises(RequestError, match="the address is not a valid URL"):
        public_url("http://[::1/x")


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
