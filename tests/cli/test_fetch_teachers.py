"""lskd fetch-teachers against a local server: valid, corrupt and malicious archives."""

import gzip
import hashlib
import json
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import load_preset
from lskd_cli.io.download import with_source
from lskd_cli.models import create_model
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.teachers import catalogue
from tests.cli.helpers import lskd
from tests.malicious_files import Evil
from tests.servers import serving
from tests.teacher_archives import MEMBER, header_of_huge_member, make_archive, pickled

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archives of these tests hold other weights than the published ones."""
    monkeypatch.setitem(
        catalogue.CATALOGUE, "resnet32x4", catalogue.PublishedTeacher("resnet32x4", sha256=None)
    )


def _checkpoint(name: str) -> bytes:
    torch.manual_seed(0)
    weights = create_model(name).state_dict()
    return pickled({"epoch": 240, "model": weights, "best_acc": np.float64(72.34)})


def _flipped(name: str) -> bytes:
    """A checkpoint with one flipped bit in its weights."""
    content = bytearray(_checkpoint(name))
    content[len(content) // 2] ^= 1
    return bytes(content)


def _poisoned(name: str) -> bytes:
    weights = create_model(name).state_dict()
    weights["fc.bias"] = torch.full_like(weights["fc.bias"], torch.nan)
    return pickled({"model": weights})


@pytest.fixture(scope="module")
def small_archive() -> bytes:
    return make_archive(
        {MEMBER.format(name): _checkpoint(name) for name in ("resnet56", "resnet110")}
    )


def _files(folder: Path) -> list[str]:
    """Names of the files in a folder that may be missing."""
    return sorted(path.name for path in folder.glob("*"))


def test_all_six_teachers_are_stored_with_their_metadata(tmp_path: Path, capsys: Capture) -> None:
    archive = make_archive({MEMBER.format(name): _checkpoint(name) for name in catalogue.CATALOGUE})
    with serving({"teachers.tar": archive}) as server:
        source = server.url("teachers.tar")
        result = lskd(capsys, "fetch-teachers", "--from", source, "--checkpoints-dir", tmp_path)
    assert result.code == 0, result.err
    assert _files(tmp_path) == sorted(f"{name}.safetensors" for name in catalogue.CATALOGUE)
    checkpoint = load_checkpoint(tmp_path / "resnet56.safetensors")
    checkpoint.load_network("resnet56", 100)
    digest = hashlib.sha256(_checkpoint("resnet56")).hexdigest()
    assert checkpoint.metadata == {
        "model": "resnet56", "num_classes": "100", "dataset": "cifar100", "top1": "72.34",
        "source": source, "sha256": digest,
        "preprocessing": Preprocessing.of_data(load_preset("teacher-resnet56").data).to_json(),
    }  # fmt: skip


def test_a_broken_download_is_resumed(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    with serving({"t.tar": small_archive}) as server:
        server.break_after = 1_000_000
        command = ("fetch-teachers", "resnet56", "--from", server.url("t.tar"))
        first = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
        assert first.code == 1
        assert "run the command again to resume" in first.err
        partial, version = _files(tmp_path)
        assert re.fullmatch(r"cifar_teachers\.[0-9a-f]{8}\.tar\.part", partial)
        assert version == f"{partial}.version"
        second = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
        assert second.code == 0, second.err
        assert server.ranges == [None, "bytes=1000000-"]
    assert _files(tmp_path) == ["resnet56.safetensors"]


def test_a_local_archive_is_read_where_it_is_and_stays(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    local = tmp_path / "mine.tar"
    local.write_bytes(small_archive)
    folder = tmp_path / "checkpoints"
    result = lskd(
        capsys, "fetch-teachers", "resnet110", "--from", local, "--checkpoints-dir", folder
    )
    assert result.code == 0, result.err
    assert local.read_bytes() == small_archive
    assert _files(folder) == ["resnet110.safetensors"]


def test_a_teacher_that_is_there_is_not_fetched_again(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    (tmp_path / "resnet56.safetensors").write_bytes(b"mine")
    with serving({"t.tar": small_archive}) as server:
        source = ("--from", server.url("t.tar"), "--checkpoints-dir", tmp_path)
        result = lskd(capsys, "fetch-teachers", "resnet56", *source)
        assert result.code == 0
        assert "already exists; use --fresh to replace it" in result.err
        assert server.ranges == []
        lskd(capsys, "fetch-teachers", "resnet56", "--fresh", *source)
    load_checkpoint(tmp_path / "resnet56.safetensors").load_network("resnet56", 100)


BAD_ARCHIVES = {
    "the wrong digest": (lambda good, proof: good, "sha256 is .* expected 00", ("--sha256", "00")),
    "a truncated archive": (lambda good, proof: good[: len(good) // 2], "not a complete tar", ()),
    "no archive": (lambda good, proof: b"<html>Not found</html>" * 99, "not a complete tar", ()),
    "an empty file": (lambda good, proof: b"", "not a complete tar", ()),
    "a missing member": (lambda good, proof: make_archive({"other": b""}), "has no member", ()),
    "a member that points outside": (
        lambda good, proof: make_archive(
            {MEMBER.format("resnet56"): _checkpoint("resnet56"), "../../outside": b"x"}
        ),
        "refused: .*outside",
        (),
    ),
    "an absolute link": (
        lambda good, proof: make_archive({}, {MEMBER.format("resnet56"): "/etc/passwd"}),
        "refused: ",
        (),
    ),
    "a pickle that runs code": (
        lambda good, proof: make_archive(
            {MEMBER.format("resnet56"): pickled({"model": {}, "x": Evil(proof)})}
        ),
        "contains executable code",
        (),
    ),
    "a truncated pickle": (
        lambda good, proof: make_archive(
            {MEMBER.format("resnet56"): _checkpoint("resnet56")[:-999]}
        ),
        "not a checkpoint that torch can read",
        (),
    ),
    "a flipped bit": (
        lambda good, proof: make_archive({MEMBER.format("resnet56"): _flipped("resnet56")}),
        "not a checkpoint that torch can read: wrong checksum",
        (),
    ),
    "weights that are not finite": (
        lambda good, proof: make_archive({MEMBER.format("resnet56"): _poisoned("resnet56")}),
        "contains values that are not finite",
        (),
    ),
    "a folder instead of a file": (
        lambda good, proof: make_archive({}, folders=[MEMBER.format("resnet56")]),
        "is not a regular file",
        (),
    ),
    "a member of 2 GiB": (
        lambda good, proof: header_of_huge_member(MEMBER.format("resnet56"), 2 << 30),
        "larger than 1 GiB",
        (),
    ),
    "a corrupt header": (
        lambda good, proof: good[:600] + b"\xff" * 200_000 + good[200_600:],
        "not a checkpoint|not a complete tar",
        (),
    ),
    "a corrupt gzip stream": (
        lambda good, proof: gzip.compress(good, 1)[:-5000],
        "not a complete tar",
        (),
    ),
    "another network's weights": (
        lambda good, proof: make_archive({MEMBER.format("resnet56"): _checkpoint("resnet20")}),
        "do not fit resnet56",
        (),
    ),
}


@pytest.mark.parametrize("remote", [True, False], ids=["from a server", "from a file"])
@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_a_bad_archive_ends_with_a_line_and_leaves_nothing(
    tmp_path: Path, capsys: Capture, small_archive: bytes, case: str, remote: bool
) -> None:
    make, message, options = BAD_ARCHIVES[case]
    proof, folder = tmp_path / "pwned", tmp_path / "checkpoints"
    archive = make(small_archive, proof)
    with serving({"t.tar": archive}) as server:
        local = tmp_path / "t.tar"
        local.write_bytes(archive)
        source = server.url("t.tar") if remote else local
        command = ("fetch-teachers", "resnet56", "--from", source, "--checkpoints-dir", folder)
        result = lskd(capsys, *command, *options)
    assert result.code == 1
    *progress, error = result.err.splitlines()
    assert re.search(message, error), result.err
    assert all(line.startswith("downloading") for line in progress)
    assert remote or not progress
    assert not proof.exists()
    assert not _files(folder)
    assert not (tmp_path / "outside").exists()
    assert local.read_bytes() == archive


def test_a_pinned_teacher_with_other_bytes_is_refused(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = catalogue.PublishedTeacher("resnet56", sha256="ab" * 32)
    monkeypatch.setitem(catalogue.CATALOGUE, "resnet56", pinned)
    local = tmp_path / "t.tar"
    local.write_bytes(make_archive({MEMBER.format("resnet56"): _checkpoint("resnet56")}))
    folder = tmp_path / "checkpoints"
    result = lskd(
        capsys, "fetch-teachers", "resnet56", "--from", local, "--checkpoints-dir", folder
    )
    assert result.code == 1
    assert f"{MEMBER.format('resnet56')}: sha256 is" in result.err
    assert not _files(folder)


def test_a_full_disk_while_converting_keeps_the_download(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving({"t.tar": small_archive}) as server:
        command = ("fetch-teachers", "resnet110", "--from", server.url("t.tar"))
        try:
            # Enough for the archive, not for the converted file that is left out of it.
            archive = with_source(tmp_path / "cifar_teachers.tar", server.url("t.tar"))
            archive.write_bytes(small_archive)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
            result = lskd(capsys, *command, "--checkpoints-dir", tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.code == 1
    assert "File too large" in result.err
    assert _files(tmp_path) == [archive.name]


def test_a_mirror_does_not_get_the_archive_of_another_one(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    other = make_archive({MEMBER.format("resnet56"): _checkpoint("resnet56")})
    with serving({"a.tar": small_archive, "b.tar": other}) as server:
        first, second = server.url("a.tar"), server.url("b.tar")
        # A process was killed after the download.
        with_source(tmp_path / "cifar_teachers.tar", first).write_bytes(b"corrupt")
        command = ("fetch-teachers", "resnet56", "--checkpoints-dir", tmp_path)
        assert lskd(capsys, *command, "--from", second).code == 0
        assert load_checkpoint(tmp_path / "resnet56.safetensors").metadata["source"] == second


def test_secrets_of_a_mirror_are_not_stored(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    with serving({"t.tar?token=secret": small_archive}) as server:
        url = server.url("t.tar?token=secret").replace("//", "//user:password@")
        command = ("fetch-teachers", "resnet56", "--checkpoints-dir", tmp_path, "--from")
        missing = lskd(capsys, *command, url.replace("t.tar", "x.tar"))
        assert missing.code == 1
        assert "secret" not in missing.err + missing.out
        assert "password" not in missing.err + missing.out
        result = lskd(capsys, *command, url.replace("user:password@", ""))
    assert result.code == 0, result.err
    source = load_checkpoint(tmp_path / "resnet56.safetensors").metadata["source"]
    assert source.endswith("/t.tar")


def test_leftovers_of_a_killed_process_are_removed(
    tmp_path: Path, capsys: Capture, small_archive: bytes
) -> None:
    local, folder = tmp_path / "t.tar", tmp_path / "checkpoints"
    local.write_bytes(small_archive)
    (folder / ".cifar_teachers").mkdir(parents=True)
    (folder / ".cifar_teachers" / "resnet110.pth").write_bytes(b"half")
    (folder / ".resnet110.safetensors.1234.tmp").write_bytes(b"half")
    lskd(capsys, "fetch-teachers", "resnet110", "--from", local, "--checkpoints-dir", folder)
    assert _files(folder) == ["resnet110.safetensors"]


def test_a_missing_network_is_reported_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    url = "http://127.0.0.1:9/t.tar"
    result = lskd(capsys, "fetch-teachers", "--from", url, "--checkpoints-dir", tmp_path / "c")
    assert result.code == 1
    assert "Connection refused" in result.err
    assert not _files(tmp_path / "c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet57",), "unknown teacher 'resnet57'; choose from resnet56"),
        (("--from", "nowhere.tar"), "neither a URL nor a file"),
    ],
)
def test_a_wrong_request_is_refused(
    tmp_path: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    result = lskd(capsys, "fetch-teachers", *arguments, "--checkpoints-dir", tmp_path)
    assert result.code == 2
    assert message in result.err


def test_the_list_says_what_is_there(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "vgg13.safetensors").touch()
    result = lskd(capsys, "fetch-teachers", "--list", "--json", "--checkpoints-dir", tmp_path)
    rows = json.loads(result.out)
    assert rows["vgg13"] == {"published_top1": 74.64, "present": True}
    assert not rows["resnet32x4"]["present"]
    assert rows["resnet50"] == {"published_top1": 76.13, "present": False}
    assert len(rows) == 8
