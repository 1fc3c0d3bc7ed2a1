"""The download of CIFAR-100: in several processes at once, interrupted, corrupt, and the user's."""

import gzip
import hashlib
import os
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR100

from lskd_cli.config import load_preset
from lskd_cli.data import load_splits
from lskd_cli.errors import RequestError, RunError
from tests.cifar import cifar_files
from tests.engine.helpers import silent
from tests.servers import serving
from tests.teacher_archives import make_archive
from tests.workers import start

DATA = load_preset("alone-r20").data


def cifar_archive() -> bytes:
    """An archive in the form of CIFAR-100's, with few images."""
    members = {f"cifar-100-python/{name}": content for name, content in cifar_files().items()}
    return gzip.compress(make_archive(members), mtime=0)


_NAMES = ("train", "test", "meta")


def _use_archive(url: str, archive: bytes) -> None:
    """Let torchvision's class describe this archive."""
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in cifar_files().items()}
    CIFAR100.url = url
    CIFAR100.tgz_md5 = hashlib.md5(archive).hexdigest()
    CIFAR100.train_list = [["train", md5["train"]]]
    CIFAR100.test_list = [["test", md5["test"]]]
    CIFAR100.meta = {"filename": "meta", "key": "fine_label_names", "md5": md5["meta"]}


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    for name in ("url", "tgz_md5", "train_list", "test_list", "meta"):
        monkeypatch.setattr(CIFAR100, name, getattr(CIFAR100, name))
    content = cifar_archive()
    _use_archive("http://127.0.0.1:9/c.tar.gz", content)
    return content


def load_cifar(folder: Path, url: str, archive: bytes) -> None:
    """Load CIFAR-100 in a process of its own."""
    _use_archive(url, archive)
    assert len(load_splits(DATA, folder, silent).train) == 20


def test_processes_that_start_together_download_once(tmp_path: Path, archive: bytes) -> None:
    with serving({"c.tar.gz": archive}) as server:
        server.delay = 0.2
        arguments = (tmp_path, server.url("c.tar.gz"), archive)
        processes = [start(load_cifar, *arguments) for _ in range(3)]
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        assert server.ranges == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python"]


def test_what_a_killed_process_unpacked_is_removed(tmp_path: Path, archive: bytes) -> None:
    leftover = tmp_path / ".cifar-100-python" / "cifar-100-python"
    leftover.mkdir(parents=True)
    (leftover / "train").write_bytes(b"half")
    with serving({"c.tar.gz": archive}) as server:
        CIFAR100.url = server.url("c.tar.gz")
        load_splits(DATA, tmp_path, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python"]


def test_an_archive_of_the_user_is_used_and_stays(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / CIFAR100.filename).write_bytes(archive)
    assert len(load_splits(DATA, tmp_path, silent).test) == 10
    assert (tmp_path / CIFAR100.filename).read_bytes() == archive


def test_a_corrupt_archive_of_the_user_is_refused_and_stays(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / CIFAR100.filename).write_bytes(archive[:-1])
    with pytest.raises(RunError, match="not the official archive"):
        load_splits(DATA, tmp_path, silent)
    assert (tmp_path / CIFAR100.filename).read_bytes() == archive[:-1]


@pytest.mark.parametrize("name", _NAMES)
def test_a_corrupt_file_is_named(tmp_path: Path, archive: bytes, name: str) -> None:
    (tmp_path / CIFAR100.filename).write_bytes(archive)
    load_splits(DATA, tmp_path, silent)
    (tmp_path / "cifar-100-python" / name).write_bytes(b"corrupt")
    with pytest.raises(RequestError, match=f"{name}: corrupt"):
        load_splits(DATA, tmp_path, silent)


def test_a_pipe_instead_of_a_file_does_not_block(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / CIFAR100.filename).write_bytes(archive)
    load_splits(DATA, tmp_path, silent)
    file = tmp_path / "cifar-100-python" / "test"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(RequestError, match="test: cannot be read: not a regular file"):
        load_splits(DATA, tmp_path, silent)
