"""Images of one's own beyond image folders: CSV files, NumPy archives, tar archives, the Hub."""

import csv
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lskd_cli.config import Data, PresetOptions, load_preset, requested_preset
from lskd_cli.data import InMemoryImages, create_loader, identify_images, load_splits
from lskd_cli.data.sets import hub_dataset
from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.tar_archive import _resolve
from lskd_cli.errors import RequestError
from lskd_cli.memo import start_command
from tests.cli.helpers import lskd
from tests.image_folders import make_folder

CLASSES = 3


def _silent(done: int, total: int | None) -> None:
    pass


def _data(name: str, *more: str, classes: int = CLASSES) -> Data:
    settings = [f"data.name={name}", f"data.num_classes={classes}", "data.batch_size=8"]
    workers = "data.augmentation={interpolation: bilinear}"
    files = [] if name == "npz" else ["data.padding=0", workers]
    return load_preset("alone-r20", [*settings, *files, *more]).data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", train=6, val=2, classes=CLASSES)


def _write_csv(folder: Path, column: str = "path") -> None:
    for split in ("train", "val"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([column, "label", "comment"])
            for path in sorted((folder / split).rglob("*.jpeg")):
                writer.writerow([path.relative_to(folder), path.parent.name, "x"])


def _write_tars(folder: Path) -> None:
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}.tar", "w") as archive:
            for path in sorted((folder / split).rglob("*.jpeg")):
                archive.add(path, path.relative_to(folder / split))


def _write_hub(folder: Path) -> str:
    """A data set in the layout that the Hub calls an image folder."""
    for split in ("train", "val"):
        target = "train" if split == "train" else "validation"
        (folder / "hub").mkdir(exist_ok=True)
        (folder / split).rename(folder / "hub" / target)
    return f"hfds/{folder / 'hub'}"


def _write(kind: str, folder: Path) -> tuple[str, Path]:
    """Write the images of a folder in another form: its name as a data set, and its --data-dir."""
    if kind == "csv":
        _write_csv(folder)
    elif kind == "tar":
        _write_tars(folder)
    else:
        return _write_hub(folder), folder / "cache"
    return kind, folder


@pytest.mark.parametrize("kind", ["csv", "tar", "hfds"])
def test_the_images_are_those_of_the_folder(kind: str, folder: Path) -> None:
    expected = load_splits(_data("imagefolder"), folder, _silent)
    kept = [expected.train, expected.test]
    contents = [[of.load_image(i) for i in range(len(of))] for of in kept]
    name, where = _write(kind, folder)
    assert len(identify_images(name, where).classes) == CLASSES
    splits = load_splits(_data(name), where, _silent)
    for images, of, content in zip((splits.train, splits.test), kept, contents, strict=True):
        assert isinstance(images, FileImages)
        assert images.classes == of.classes
        found = sorted((int(t), images.load_image(i).sum()) for i, t in enumerate(images.targets))
        pairs = zip(of.targets, content, strict=True)
        assert found == sorted((int(target), pixels.sum()) for target, pixels in pairs)
    part = splits.train.subset(np.array([7, 2]))
    for position, index in enumerate((7, 2)):
        assert torch.equal(part.load_image(position), splits.train.load_image(index))


@pytest.mark.parametrize("kind", ["csv", "tar", "hfds"])
def test_an_epoch_is_resumed_in_its_middle(kind: str, folder: Path) -> None:
    name, where = _write(kind, folder)
    data = _data(name, "data.val_split=0.2")
    splits = load_splits(data, where, _silent)
    assert splits.val is not None
    batches = []
    for first_step in (0, 1):
        loader = create_loader(splits.train, data)
        loader.start_epoch(2, ["weak"], first_step)
        steps = range(first_step, loader.num_steps)
        batches.append([loader.make_batch(loader.batch_spec(step, 1)) for step in steps])
    for whole, resumed in zip(batches[0][1:], batches[1], strict=True):
        assert torch.equal(whole.views["weak"], resumed.views["weak"])
        assert torch.equal(whole.target, resumed.target)


def _write_npz(path: Path, **changes: object) -> Path:
    random = np.random.default_rng(0)
    arrays: dict[str, object] = {}
    for split, count in (("train", 30), ("val", 6), ("test", 9)):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % CLASSES)[:, None].astype(np.uint8)
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_a_numpy_archive_becomes_rgb_with_its_own_validation_set(tmp_path: Path) -> None:
    path = _write_npz(tmp_path / "own.npz")
    for where in (path, tmp_path):
        splits = load_splits(_data("npz", "data.image_size=28"), where, _silent)
        assert isinstance(splits.train, InMemoryImages)
        assert splits.train.images.shape == (30, 28, 28, 3)
        assert torch.equal(splits.train.images[..., 0], splits.train.images[..., 2])
        assert splits.val is not None
        assert (len(splits.val), len(splits.test)) == (6, 9)
        assert splits.train.classes == ("0", "1", "2")
    with pytest.raises(RequestError, match=r"data\.val_split: the archive has validation images"):
        load_splits(_data("npz", "data.val_split=0.5"), path, _silent)
    rgb = np.zeros((30, 28, 28, 3), np.uint8)
    _write_npz(path, train_images=rgb, val_images=None, val_labels=None)
    assert load_splits(_data("npz", "data.image_size=28"), path, _silent).val is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, "contains no train_images"),
        ({"test_labels": None}, "contains no test_labels"),
        ({"train_images": np.zeros((30, 28, 28))}, r"expected \(N, H, W\) or \(N, H, W, 3\) uint8"),
        ({"train_images": np.zeros((30, 28, 20), np.uint8)}, "must be square, not 28 x 20"),
        ({"train_labels": np.zeros((30, 14), np.uint8)}, "expected one class index for each image"),
        ({"train_labels": np.zeros(7, np.uint8)}, "train: 30 images and 7 labels"),
        ({"train_labels": np.full(30, -1)}, "class indices must be between 0 and 100000"),
        ({"train_labels": np.array([object()] * 30)}, "cannot be read: Object arrays"),
    ],
)
def test_a_wrong_archive_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = _write_npz(tmp_path / "own.npz", **changes)
    with pytest.raises(RequestError, match=message):
        load_splits(_data("npz"), path, _silent)


def test_a_folder_of_several_archives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"contains 0 files \*\.npz; give the file itself"):
        identify_images("npz", tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(RequestError, match=r"bad\.npz: cannot be read"):
        identify_images("npz", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\n", "contains no images"),
        ("file_name,label\na,b\n", "expected the columns path and label"),
        ("path,class\na,b\n", "expected the columns path and label"),
        ("path,label\na,b\n,c\n", "line 3: the path or the label is empty"),
        ("path,label\nnone.png,class00\n", r"train\.csv: files that do not exist: none\.png"),
        (f"path,label\n{'x' * 300},class00\n", r"train\.csv: files that do not exist: x+\.\.\.x+"),
    ],
)
def test_a_wrong_csv_file_is_refused(folder: Path, content: str, message: str) -> None:
    _write_csv(folder)
    (folder / "train.csv").write_text(content)
    (folder / "val.csv").write_text(content)
    with pytest.raises(RequestError, match=message):
        load_splits(_data("csv", classes=1), folder, _silent)


def test_labels_that_are_not_trained_are_refused(folder: Path) -> None:
    _write_csv(folder, column="image")
    text = (folder / "val.csv").read_text()
    (folder / "val.csv").write_text(text.replace(",class02,", ",other,"))
    with pytest.raises(RequestError, match=r"1 labels that train\.csv does not have: other"):
        identify_images("csv", folder)


def test_the_images_of_many_runs_are_listed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []

    def identify(name: str, where: Path) -> object:
        listed.append(where)
        return identify_images(name, where)

    monkeypatch.setattr("lskd_cli.data.loading.identify_images", identify)
    start_command()
    options = PresetOptions(dataset="imagefolder", student="resnet8")
    for seed in (0, 1):
        assert requested_preset("alone-r20", options, folder, seed).data.class_count == CLASSES
    assert len(listed) == 1
    start_command()
    requested_preset("alone-r20", options, folder)
    assert len(listed) == 2


@pytest.mark.parametrize("option", ["student", "init"])
def test_an_empty_option_is_not_left_out(option: str) -> None:
    with pytest.raises(RequestError, match=f"--{option}"):
        requested_preset("alone-r20", PresetOptions(**{option: ""}), Path())


def test_corrupt_and_missing_archives_are_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"train\.tar: no such archive"):
        identify_images("tar", folder.parent)
    _write_tars(folder)
    (folder / "val.tar").write_bytes(b"nothing at all")
    with pytest.raises(RequestError, match=r"val\.tar: cannot be read"):
        identify_images("tar", folder)


def test_an_archive_that_ends_early_or_goes_on_is_refused(folder: Path) -> None:
    _write_tars(folder)
    archive = folder / "train.tar"
    content = archive.read_bytes()
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    second, last = members[1].offset, members[-1].offset_data + members[-1].size
    corrupt = bytearray(content)
    corrupt[second : second + 512] = b"x" * 512
    negative = bytearray(content)
    negative[second + 124 : second + 136] = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")
    checksum = sum(negative[second : second + 512])
    checksum += 8 * 32 - sum(negative[second + 148 : second + 156])
    negative[second + 148 : second + 156] = b"%06o\0 " % checksum
    for changed, message in (
        (content + content, "corrupt, or several archives in one file"),
        (corrupt, "corrupt, or several archives in one file"),
        (content[: -(-last // 512) * 512], "truncated: its end is missing"),
        (negative, "negative|corrupt, or several"),  # by the version of Python
    ):
        archive.write_bytes(changed)
        with pytest.raises(RequestError, match=rf"train\.tar: .*({message})"):
            identify_images("tar", folder)


def test_links_in_an_archive_are_the_images_that_they_lead_to(folder: Path) -> None:
    for number, link in enumerate((os.link, os.symlink)):
        name = folder / "train" / "class00" / f"z{number}.jpeg"
        link(folder / "train" / "class00" / "0.jpeg" if number == 0 else "0.jpeg", name)
    _write_tars(folder)
    train = load_splits(_data("tar"), folder, _silent).train
    assert len(train) == 6 * CLASSES + 2
    images = [train.load_image(index) for index in (0, 6, 7)]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])
    (folder / "train" / "class00" / "z2.jpeg").symlink_to("../../elsewhere.jpeg")
    _write_tars(folder)
    with pytest.raises(RequestError, match=r"1 unreadable images: .*class00/z2\.jpeg"):
        load_splits(_data("tar"), folder, _silent)


def test_links_in_an_archive_may_lead_through_folders_and_in_circles() -> None:
    links = {"a/1.jpg": "store/1.jpg", "alias": "store", "a/2.jpg": "alias/1.jpg"}
    links |= {"x": "y", "y": "x"}
    names = ("a/1.jpg", "a/2.jpg", "b/3.jpg")
    assert [_resolve(name, links) for name in names] == ["store/1.jpg", "store/1.jpg", "b/3.jpg"]
    assert _resolve("x", links) in ("x", "y")


def test_unreadable_images_of_an_archive_are_named_and_left_out(folder: Path) -> None:
    _write_tars(folder)
    with tarfile.open(folder / "train.tar", "a") as archive:
        member = tarfile.TarInfo("class00/zzz.png")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(RequestError, match=r"1 unreadable images: .*class00/zzz\.png"):
        load_splits(_data("tar"), folder, _silent)
    splits = load_splits(_data("tar"), folder, _silent, skip_bad=True)
    assert len(splits.train) == 6 * CLASSES


def test_a_hub_data_set_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--dataset hfds/NAME: the split validation has no im"):
        hub_dataset._split("hfds/NAME", "validation", None, np.array([]), ["a", "b"])
    with pytest.raises(RequestError, match=r"--dataset hfds/.*none: cannot be loaded: "):
        identify_images(f"hfds/{tmp_path / 'none'}", tmp_path / "cache")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("text\na\n")
    with pytest.raises(RequestError, match="expected the splits train and validation"):
        identify_images(f"hfds/{tmp_path / 'texts'}", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "wds/photos",
            "should not be streamed, because an epoch could not be resumed; use tar or hfds/NAME",
        ),
        ("folder", "should be one of cifar100, digits, imagenet, imagefolder, csv"),
        ("cifar100", "only for custom images"),
    ],
)
def test_an_unknown_data_set_is_refused(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("train", "--preset=alone-r20", "--dataset", name, "--data-dir", tmp_path)
    result = lskd(capsys, *command)
    assert result.code == 2
    assert f"--dataset {name}: {message}" in result.err


@pytest.mark.parametrize("kind", ["csv", "npz", "tar"])
def test_a_student_is_trained_and_used(
    kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = folder
    if kind == "csv":
        _write_csv(folder)
    elif kind == "tar":
        _write_tars(folder)
    else:
        where = _write_npz(tmp_path / "own.npz")
    options = ("--data-dir", where, "--dataset", kind, "--epochs=1", "--student=resnet8")
    size = () if kind == "npz" else ("--set=data.image_size=32",)
    runs = ("--runs-dir", tmp_path / "runs")
    result = lskd(capsys, "train", "--preset=alone-r20", *options, *size, *runs)
    assert result.code == 0, result.err
    run = tmp_path / "runs" / "alone-r20" / "seed0"
    evaluated = lskd(capsys, "eval", run, "--data-dir", where, "--json")
    assert evaluated.code == 0
    if kind == "csv":  # the same images, read in another way
        other = lskd(capsys, "eval", run, "--data-dir", where, "--dataset=imagefolder", "--json")
        assert json.loads(other.out) == json.loads(evaluated.out) | {"dataset": "imagefolder"}
    refused = lskd(capsys, "eval", run, "--dataset=cifar100")
    assert refused.code == 2
    assert f"--dataset cifar100: {run} was trained on {kind}; leave it out" in refused.err
    image = tmp_path / "new.png"
    Image.new("RGB", (50, 40), "green").save(image)
    result = lskd(capsys, "predict", run, image, "--format=csv")
    assert result.code == 0, result.err
    names = {row.split(",")[2] for row in result.out.splitlines()[1:]}
    assert names == ({"0", "1", "2"} if kind == "npz" else {"class00", "class01", "class02"})


def test_another_archive_is_not_taken_for_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _write_npz(tmp_path / "first.npz")
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    second = _write_npz(tmp_path / "second.npz", train_images=images)
    digests = [load_splits(_data("npz"), path, _silent).train.digest for path in (first, second)]
    assert digests[0] != digests[1]
    command = ["train", "--preset=alone-r20", "--dataset=npz", "--epochs=1", "--student=resnet8"]
    command += ["--runs-dir", str(tmp_path / "runs")]
    assert lskd(capsys, *command, "--data-dir", first).code == 0
    assert "already finished" in lskd(capsys, *command, "--data-dir", first).err
    result = lskd(capsys, *command, "--data-dir", second)
    assert result.code == 2
    assert "trained on another archive than that in --data-dir" in result.err


def test_corrupt_numpy_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(b"")
    with pytest.raises(RequestError, match="cannot be read"):
        identify_images("npz", path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RequestError, match="not a NumPy archive"):
        identify_images("npz", path)
