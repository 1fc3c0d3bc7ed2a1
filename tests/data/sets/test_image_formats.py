"""Which files are images, and what becomes of their pixels: the same in every reader."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lskd_cli.config import Data, load_preset
from lskd_cli.data import DataSplits, load_splits
from lskd_cli.data.sets.image_formats import SUFFIXES, ImageFilter, open_image, to_rgb
from lskd_cli.errors import RequestError
from tests.engine.helpers import silent


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def _data(kind: str, classes: int) -> Data:
    settings = [f"data.name={kind}", f"data.num_classes={classes}", "data.batch_size=4"]
    return load_preset("kd-imagenet-r34-r18", settings).data


def _load(kind: str, folder: Path, classes: int = 2) -> DataSplits:
    return load_splits(_data(kind, classes), folder, silent)


def _save(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (value, value, value)).save(path)


def _folder(root: Path, classes: tuple[str, ...] = ("a", "b"), suffix: str = ".png") -> None:
    for split in ("train", "val"):
        for value, name in enumerate(classes):
            for index in range(2):
                _save(root / split / name / f"{index}{suffix}", 10 * value + index)


def _tar(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for split in ("train", "val"):
        with tarfile.open(target / f"{split}.tar", "w") as archive:
            for path in sorted((source / split).rglob("*")):
                archive.add(path, path.relative_to(source / split), recursive=False)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_gray_images_of_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.arange(0, 250, 10, dtype=np.uint16).reshape(5, 5)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(values * 257).save(path)
    with open_image(path) as image:
        found = np.asarray(to_rgb(image))
    assert np.array_equal(found[..., 1], values)


@pytest.mark.parametrize("value", [0.5, 70000])
def test_pixels_without_a_known_range_are_refused(value: float) -> None:
    pixels = np.full((3, 3), value, np.float32 if value < 1 else np.int32)
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        to_rgb(Image.fromarray(pixels))


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(OSError, match="cannot identify"):
        open_image(io.BytesIO(text)).load()
    assert not (tmp_path / "started").exists()


def test_hidden_and_system_files_are_no_images() -> None:
    is_image = ImageFilter()
    assert all(is_image(f"class/IMAGE{suffix.upper()}") for suffix in SUFFIXES)
    for name in ("._0.png", ".ipynb_checkpoints/0.png", "__MACOSX/a/0.png"):
        assert not is_image(name), name
    assert is_image.describe() == []


def test_files_that_are_no_images_are_counted_by_ending() -> None:
    is_image = ImageFilter()
    for name in ("a/0.eps", "a/1.EPS", "a/LICENSE", "a/.hidden.txt", "a/0.png"):
        is_image(name)
    assert is_image.describe() == [
        "files that are left out because they are no images: 2 with .eps, 1 with no ending"
    ]
    for number in range(9):
        is_image(f"a/0.{number}")
    (line,) = is_image.describe()
    assert "no images: 2 with .eps, 1 with " in line
    assert line.endswith(", ...")


@pytest.mark.parametrize("kind", ["imagefolder", "tar"])
def test_readers_name_what_they_leave_out(tmp_path: Path, kind: str) -> None:
    _folder(tmp_path, ("a", "b"))
    for split in ("train", "val"):
        (tmp_path / split / "a" / "notes.txt").write_text("no image")
    _tar(tmp_path, tmp_path)
    note = f"{tmp_path}: files that are left out because they are no images: 2 with .txt"
    assert _load(kind, tmp_path).notes == [note]


def test_all_readers_find_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    folder, archive = tmp_path / "folder", tmp_path / "archive"
    names = tuple(str(number) for number in range(1, 12))  # 10 comes before 2
    _folder(folder, names)
    for split in ("train", "val"):
        _save(folder / split / "3" / "more.webp")
        _save(folder / split / "3" / "more.BMP")
        (folder / split / "3" / "._0.png").write_bytes(b"Mac OS X")
        _save(folder / split / ".ipynb_checkpoints" / "0.png")
        lines = [
            f"{path.relative_to(folder)};{path.parent.name}"
            for path in sorted((folder / split).glob("[0-9]*/*"))
            if not path.name.startswith(".")
        ]
        (folder / f"{split}.csv").write_text("\n".join([" Path ;LABEL", *lines]))
    _tar(folder, archive)
    expected = _load("imagefolder", folder, 11).train
    assert len(expected) == 24
    assert expected.classes == tuple(sorted(names))
    for kind, root in (("tar", archive), ("csv", folder)):
        found = _load(kind, root, 11).train
        assert found.classes == expected.classes, kind
        assert torch.equal(found.targets, expected.targets), kind
        for index in range(24):
            assert torch.equal(found.load_image(index), expected.load_image(index)), kind


@pytest.mark.parametrize("kind", ["imagefolder", "tar"])
def test_dark_and_light_images_of_16_bits_stay_different(tmp_path: Path, kind: str) -> None:
    for split in ("train", "val"):
        for name, value in (("dark", 60), ("light", 200)):
            path = tmp_path / split / name / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full((8, 8), value * 257, np.uint16)).save(path)
    _tar(tmp_path, tmp_path)
    train = _load(kind, tmp_path).train
    assert [int(train.load_image(index)[0, 0, 0]) for index in (0, 1)] == [60, 200]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("a",), "has one class; a classifier needs at least two"),
        (("a", "a "), "several classes are called 'a', but for spaces"),
    ],
)
def test_degenerate_classes_are_refused(
    tmp_path: Path, classes: tuple[str, ...], message: str
) -> None:
    _folder(tmp_path, classes)
    with pytest.raises(RequestError, match=message):
        _load("imagefolder", tmp_path, len(classes))


def test_files_of_a_csv_file_that_do_not_exist_are_called_missing(tmp_path: Path) -> None:
    _folder(tmp_path)
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(
            "path,label\ntrain\\a\\0.png, a \ntrain/b/1.png,b\ntrain/b/7.png,b\n"
        )
    with pytest.raises(RequestError, match=r"files that do not exist: train/b/7\.png"):
        _load("csv", tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(RequestError, match="not a regular file"):
        _load("csv", tmp_path)


def test_archives_that_cannot_be_read_in_parts_are_explained(tmp_path: Path) -> None:
    _folder(tmp_path / "images")
    _tar(tmp_path / "images", tmp_path / "good")
    for name, message in (("train.tar", "is compressed with gzip"), ("train.tar.gz", "decompress")):
        root = tmp_path / name.replace(".", "-")
        root.mkdir()
        with tarfile.open(root / name, "w:gz") as archive:
            archive.add(tmp_path / "images" / "train" / "a", "a")
        with pytest.raises(RequestError, match=message):
            _load("tar", root)
    (tmp_path / "good" / "train.tar").unlink()
    with tarfile.open(tmp_path / "good" / "train.tar", "w") as archive:
        member = tarfile.TarInfo("a/large.png")
        member.size = 1 << 50
        archive.addfile(member)
    with pytest.raises(RequestError, match=r"truncated: a/large\.png ends after the file"):
        _load("tar", tmp_path / "good")


def test_labels_that_start_at_1_are_refused(tmp_path: Path) -> None:
    images = np.zeros((6, 8, 8, 1), np.uint8)
    labels = np.arange(6) % 3
    for offset in (0, 1):
        arrays = {f"{s}_images": images for s in ("train", "test")}
        arrays |= {f"{s}_labels": labels + offset for s in ("train", "test")}
        np.savez(tmp_path / f"{offset}.npz", **arrays)
    data = load_preset("kd-r56-r20", ["data.name=npz", "data.num_classes=3"]).data
    assert len(load_splits(data, tmp_path / "0.npz", silent).train) == 6
    with pytest.raises(RequestError, match="train_labels has no image of class 0"):
        load_splits(data, tmp_path / "1.npz", silent)
