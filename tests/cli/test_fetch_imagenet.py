"""lskd fetch-teachers imagenet, from a local server and local files."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.models import create_model
from lskd_cli.teachers.catalogue import IMAGENET, ImageNetTeacher
from tests.cli.helpers import lskd
from tests.servers import FileServer, serving

Capture = pytest.CaptureFixture[str]


class _Local(ImageNetTeacher):
    """The teacher, in a file whose name holds another digest."""

    file_name = ""


@pytest.fixture(scope="module")
def pickled() -> bytes:
    """Weights of a resnet34, as torchvision stores them."""
    torch.manual_seed(0)
    stream = io.BytesIO()
    torch.save(create_model("resnet34", 1000).state_dict(), stream)
    return stream.getvalue()


@pytest.fixture
def server(pickled: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    _Local.file_name = f"resnet34-{hashlib.sha256(pickled).hexdigest()[:8]}.pth"
    local = _Local("resnet34", IMAGENET["resnet34"].weights_name)
    monkeypatch.setitem(IMAGENET, "resnet34", local)
    with serving({f"models/{_Local.file_name}": pickled}) as files:
        yield files


def _files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def test_a_teacher_is_stored_under_the_name_of_its_data(
    server: FileServer, tmp_path: Path, capsys: Capture
) -> None:
    mirror = server.url("models/")
    folder = ("--checkpoints-dir", tmp_path)
    result = lskd(capsys, "fetch-teachers", "resnet34", "--from", mirror, *folder)
    assert result.code == 0, result.err
    assert _files(tmp_path) == ["imagenet-resnet34.safetensors"]
    checkpoint = load_checkpoint(tmp_path / "imagenet-resnet34.safetensors")
    checkpoint.load_network("resnet34", 1000)
    assert checkpoint.metadata["dataset"] == "imagenet"
    assert checkpoint.metadata["top1"] == "73.31"
    again = lskd(capsys, "fetch-teachers", "resnet34", *folder)
    assert "already exists; use --fresh to replace it" in again.err


def test_a_broken_download_is_resumed(server: FileServer, tmp_path: Path, capsys: Capture) -> None:
    command = ("fetch-teachers", "resnet34", "--from", server.url("models"))
    server.break_after = 1_000_000
    broken = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
    assert broken.code == 1
    server.break_after = None
    assert lskd(capsys, *command, "--checkpoints-dir", tmp_path).code == 0
    assert server.ranges[-1] is not None


def test_a_local_file_or_a_folder_of_files_is_taken(
    server: FileServer, pickled: bytes, tmp_path: Path, capsys: Capture
) -> None:
    local = tmp_path / "files"
    local.mkdir()
    (local / _Local.file_name).write_bytes(pickled)
    for index, source in enumerate((local, local / _Local.file_name)):
        folder = tmp_path / str(index)
        command = ("fetch-teachers", "resnet34", "--from", source, "--checkpoints-dir", folder)
        assert lskd(capsys, *command).code == 0
    assert (local / _Local.file_name).exists()


def test_a_file_with_another_digest_than_its_name_says_is_not_used(
    server: FileServer, pickled: bytes, tmp_path: Path, capsys: Capture
) -> None:
    server.files[f"models/{_Local.file_name}"] = pickled[:-1] + b"!"
    command = ("fetch-teachers", "resnet34", "--from", server.url("models"))
    result = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
    assert result.code == 1
    assert "starts with" in result.err
    assert not _files(tmp_path)


def test_a_missing_file_is_reported(tmp_path: Path, capsys: Capture) -> None:
    command = ("fetch-teachers", "imagenet", "--from", tmp_path)
    result = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
    assert result.code == 2
    assert "resnet34-b627a593.pth: neither a URL nor a file" in result.err


def test_one_source_is_not_for_both_kinds(tmp_path: Path, capsys: Capture) -> None:
    command = ("fetch-teachers", "cifar100", "imagenet", "--from", "mirror")
    result = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
    assert result.code == 2
    assert "request either CIFAR-100 or ImageNet teachers" in result.err
