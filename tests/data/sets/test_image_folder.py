"""Images in files: checks at the start, and views."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lskd_cli.config import Data, load_preset
from lskd_cli.data import (
    BatchSpec,
    DataShard,
    FolderImages,
    InMemoryImages,
    Loader,
    create_loader,
    eval_batches,
    load_splits,
)
from lskd_cli.data.batch import Normalizer
from lskd_cli.data.sets.image_formats import ImageFilter
from lskd_cli.engine.inference.prediction import find_images
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.cache import cache_folder
from lskd_cli.io.folders import walk_files
from lskd_cli.preprocessing import Preprocessing
from tests.image_folders import CLASSES, make_folder
from tests.workers import start


def _silent(done: int, total: int | None) -> None:
    pass


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("images"), train=3, val=2)


def _data(*overrides: str) -> Data:
    settings = ["data.name=imagefolder", f"data.num_classes={CLASSES}", "data.batch_size=16"]
    return load_preset("kd-imagenet-r34-r18", [*settings, *overrides]).data


def _sets(folder: Path, data: Data) -> tuple[FolderImages, FolderImages]:
    dataset = load_splits(data, folder, _silent)
    assert isinstance(dataset.train, FolderImages)
    assert isinstance(dataset.test, FolderImages)
    return dataset.train, dataset.test


def _first_spec(loader: Loader, epoch: int = 1) -> BatchSpec:
    loader.start_epoch(epoch, ["weak"], 0)
    return loader.batch_spec(0, 1)


def test_a_folder_is_read_class_by_class(folder: Path) -> None:
    train, val = _sets(folder, _data())
    assert (len(train), len(val)) == (3 * CLASSES, 2 * CLASSES)
    assert train.targets.bincount().tolist() == [3] * CLASSES
    assert train.classes == tuple(f"class{number:02}" for number in range(CLASSES))
    with Image.open(folder / "train" / "class01" / "0.jpeg") as image:
        assert np.array_equal(train.load_image(3).permute(1, 2, 0).numpy(), np.asarray(image))


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", train=3, val=2)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "train" / "class00" / "0.jpeg", other / "9.jpeg")
    for name in ("a", "b"):
        (folder / "train" / "class00" / name).symlink_to(".")
    (folder / "train" / "class00" / "c").symlink_to(other)
    (other / "back").symlink_to(folder / "train" / "class00")
    train, _ = _sets(folder, _data())
    assert [os.fsdecode(file) for file in train.files[:4]] == [
        *(f"class00/{number}.jpeg" for number in range(3)), "class00/c/9.jpeg",
    ]  # fmt: skip
    assert len(train) == 3 * CLASSES + 1
    found = find_images([folder / "train"], ImageFilter())
    assert len(list(found)) == 3 * CLASSES + 1
    (folder / "val" / "class01" / "up").symlink_to("..")  # would give it the images of class00
    (folder / "val" / "class01" / "loop").symlink_to("loop")
    assert len(_sets(folder, _data())[1]) == 2 * CLASSES


def test_a_subfolder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, train=3, val=2) / "train"
    (folder / "class00" / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RequestError, match="class00/locked: cannot be read: Permission denied"):
        list(walk_files(folder))
    warnings: list[str] = []
    assert len(list(find_images([folder], ImageFilter(), warnings.append))) == 3 * CLASSES
    assert len(warnings) == 1


def test_gray_and_transparent_images_have_three_channels(tmp_path: Path) -> None:
    make_folder(tmp_path, 1, 1, classes=2)
    for mode in ("L", "LA", "P", "RGBA", "I;16"):
        name = f"{mode.replace(';', '')}.png"
        Image.new(mode, (8, 8)).save(tmp_path / "train" / "class00" / name)
    train, _ = _sets(tmp_path, _data("data.num_classes=2"))
    found = [train.load_image(index) for index in range(len(train))]
    assert {(len(pixels), pixels.dtype) for pixels in found} == {(3, torch.uint8)}


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(RequestError, match=r"val: no such folder; expected train/CLASS/IMAGE"):
        load_splits(_data("data.num_classes=1"), tmp_path, _silent)


def test_classes_of_train_and_val_must_be_the_same(tmp_path: Path) -> None:
    make_folder(tmp_path, 1, 1, classes=3)
    (tmp_path / "val" / "class02").rename(tmp_path / "val" / "zebra")
    with pytest.raises(RequestError, match="only one of them has class02, zebra"):
        load_splits(_data("data.num_classes=3"), tmp_path, _silent)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, 1, 1, classes=3)
    (tmp_path / "train" / "class01" / "0.jpeg").unlink()
    with pytest.raises(RequestError, match=r"1 classes without images: .*class01"):
        load_splits(_data("data.num_classes=3"), tmp_path, _silent)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.num_classes=7"], "20 classes, but data.num_classes is 7"),
        (["data.name=imagenet", "data.num_classes=null"], "20 classes, but imagenet has 1000"),
    ],
)
def test_another_number_of_classes_is_refused(
    overrides: list[str], message: str, folder: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        load_splits(_data(*overrides), folder, _silent)


def _damage(root: Path) -> list[Path]:
    """One file cut short, one that is no image."""
    cut, text = (root / "train" / f"class0{number}" / "0.jpeg" for number in (0, 1))
    cut.write_bytes(cut.read_bytes()[:900])
    text.write_text("not an image")
    return [cut, text]


def test_unreadable_images_are_counted_and_named(tmp_path: Path) -> None:
    make_folder(tmp_path, 2, 1, classes=3)
    corrupt = _damage(tmp_path)
    data = _data("data.num_classes=3")
    with pytest.raises(RequestError) as caught:
        load_splits(data, tmp_path, _silent)
    assert "2 unreadable images" in str(caught.value)
    assert all(str(path) in str(caught.value) for path in corrupt)
    assert len(load_splits(data, tmp_path, _silent, skip_bad=True).train) == 4


def test_images_that_are_added_later_are_checked_too(tmp_path: Path) -> None:
    make_folder(tmp_path, 2, 1, classes=2)
    data = _data("data.num_classes=2")
    load_splits(data, tmp_path, _silent)
    (tmp_path / "train" / "class01" / "9.jpeg").write_bytes(b"no image")
    with pytest.raises(RequestError, match=r"1 unreadable images: .*9\.jpeg"):
        load_splits(data, tmp_path, _silent)


def test_a_class_without_readable_images_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, 1, 1, classes=2)
    (tmp_path / "train" / "class01" / "0.jpeg").write_bytes(b"x")
    with pytest.raises(RequestError, match="no image of 1 classes can be read: class01"):
        load_splits(_data("data.num_classes=2"), tmp_path, _silent, skip_bad=True)


def test_a_pipe_among_the_images_does_not_block(tmp_path: Path) -> None:
    make_folder(tmp_path, 2, 1, classes=2)
    pipe = tmp_path / "train" / "class01" / "0.jpeg"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(RequestError, match=f"1 unreadable images: {pipe}"):
        load_splits(_data("data.num_classes=2"), tmp_path, _silent)


def test_only_images_that_were_unreadable_are_tried_again(tmp_path: Path) -> None:
    make_folder(tmp_path, 2, 1, classes=3)
    cut, text = _damage(tmp_path)
    seen: list[int | None] = []
    data = _data("data.num_classes=3")
    for _ in range(2):
        load_splits(data, tmp_path, lambda done, total: seen.append(total), skip_bad=True)
    assert seen == [6, 3, 2]  # train, val; then, of train, the two that were bad
    for path in (cut, text):
        Image.new("RGB", (8, 8)).save(path)
    assert len(load_splits(data, tmp_path, _silent).train) == 6


def test_a_file_that_is_corrupt_later_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, 1, 1, classes=2)
    train, _ = _sets(tmp_path, _data("data.num_classes=2"))
    (tmp_path / "train" / "class01" / "0.jpeg").write_bytes(b"")
    with pytest.raises(RunError) as caught:
        _first_spec(create_loader(train, _data("data.image_size=32")))
    assert str(caught.value).startswith(f"{tmp_path}/train/class01/0.jpeg: cannot be read")
    assert "\n" not in str(caught.value)


def keep_error(folder: Path) -> None:
    """Exit while an error keeps a loader and its workers alive."""
    train, _ = _sets(folder, _data("data.num_classes=2"))
    (folder / "train" / "class01" / "0.jpeg").write_bytes(b"")
    try:
        _first_spec(create_loader(train, _data("data.image_size=32")))
    except RunError as error:
        kept.append(error)


kept: list[RunError] = []


def test_a_process_whose_worker_failed_ends(tmp_path: Path) -> None:
    make_folder(tmp_path, 1, 1, classes=2)
    process = start(keep_error, tmp_path, err=tmp_path / "messages")
    process.join(timeout=60)
    is_alive = process.is_alive()
    process.kill()
    assert not is_alive
    assert process.exitcode == 0
    assert (tmp_path / "messages").read_text() == ""


def test_a_held_out_part_and_a_limit_take_files(folder: Path) -> None:
    dataset = load_splits(_data("data.val_split=0.34"), folder, _silent)
    assert (len(dataset.train), len(dataset.val or [])) == (39, 21)
    limited = load_splits(_data("data.limit_train=20"), folder, _silent).train
    assert limited.targets.tolist() == list(range(CLASSES))


def test_an_epoch_is_the_same_again_and_from_its_middle(folder: Path) -> None:
    train, _ = _sets(folder, _data())
    loader = create_loader(train, _data("data.image_size=32"))
    assert loader.num_steps == 4
    batches = []
    for first_step in (0, 0, 2):
        loader.start_epoch(3, ["weak", "strong"], first_step)
        steps = range(first_step, loader.num_steps)
        batches.append([loader.make_batch(loader.batch_spec(step, 1)) for step in steps])
    first, again, later = batches
    assert [len(batch.target) for batch in first] == [16, 16, 16, 12]
    for one, other in [*zip(first, again, strict=True), *zip(first[2:], later, strict=True)]:
        assert torch.equal(one.target, other.target)
        assert torch.equal(one.views["weak"], other.views["weak"])
        assert torch.equal(one.views["strong"], other.views["strong"])
    other_epoch = loader.make_batch(_first_spec(loader, epoch=4))
    assert not torch.equal(other_epoch.views["weak"], first[0].views["weak"])


def test_both_views_of_an_image_have_different_crops(folder: Path) -> None:
    train, _ = _sets(folder, _data())
    loader = create_loader(train, _data("data.image_size=32"))
    loader.start_epoch(1, ["weak", "strong"], 0)
    views = loader.batch_spec(0, 1).views
    weak, strong = views["weak"].pixels, views["strong"].pixels
    assert weak is not None
    assert strong is not None
    assert weak.dtype == torch.uint8
    assert not torch.equal(weak, strong)


def test_processes_share_the_images_of_a_single_process(folder: Path) -> None:
    train, _ = _sets(folder, _data())
    data = _data("data.image_size=32", "data.batch_size=16")
    views = ["weak", "strong"]
    shards = [DataShard(rank, 2, num_workers=1) for rank in range(2)]
    loaders = [create_loader(train, data, shard) for shard in (DataShard(), *shards)]
    for loader in loaders:
        loader.start_epoch(2, views, 0)
    for step in range(4):
        expected, *parts = (loader.batch_spec(step, 1).tensors() for loader in loaders)
        for values, *sharded in zip(expected, *parts, strict=True):
            assert torch.equal(values, torch.cat(sharded))


def test_crops_have_the_scales_of_torchvision(folder: Path) -> None:
    train, _ = _sets(folder, _data())
    loader = create_loader(train, _data("data.image_size=32", "data.flip=false"))
    pixels = _first_spec(loader).views["weak"].pixels
    assert pixels is not None
    assert pixels.shape == (16, 3, 32, 32)
    # Stripes of a period of 19 pixels: enlarged crops have longer ones, so smoother rows.
    full = v2.functional.resize(train.load_image(0), [32, 32])
    assert pixels.float().diff(dim=3).abs().mean() < full.float().diff(dim=2).abs().mean()


def test_test_images_are_the_center_of_the_resized_file(folder: Path) -> None:
    data = _data("data.image_size=28")
    _, val = _sets(folder, data)
    batches = list(eval_batches(val, Preprocessing.of_data(data)))
    found = torch.cat([images for images, _ in batches])
    assert torch.equal(torch.cat([target for _, target in batches]), val.targets)
    small = v2.functional.pil_to_tensor(v2.functional.resize(val.open_image(5), [32]))
    left = round((small.shape[2] - 28) / 2)
    normalize = Normalizer(data.mean, data.std, torch.device("cpu"))
    expected = normalize(small[None, :, 2:30, left : left + 28])
    assert torch.equal(found[5:6], expected)


def test_every_test_image_is_seen_by_one_process(folder: Path) -> None:
    data = _data("data.image_size=28")
    _, val = _sets(folder, data)
    seen = [
        target
        for rank in range(3)
        for _, target in eval_batches(
            val, Preprocessing.of_data(data), DataShard(rank, 3, num_workers=1)
        )
    ]
    assert torch.equal(torch.cat(seen), val.targets)


def test_strong_views_have_a_policy_and_their_own_operations(folder: Path) -> None:
    policy = "data.augmentation.policy=rand-m9-mstd0.5-inc1"
    data = _data(policy, "data.augmentation.erasing=0.5", "data.image_size=32")
    train, _ = _sets(folder, data)
    batches = []
    for first_step in (0, 1):
        loader = create_loader(train, data)
        loader.start_epoch(1, ["weak", "strong"], first_step)
        steps = range(first_step, 2)
        batches.append([loader.make_batch(loader.batch_spec(step, 1)) for step in steps])
    whole, resumed = batches
    assert whole[0].views["strong"].shape == (16, 3, 32, 32)
    assert not torch.equal(whole[0].views["strong"], whole[0].views["weak"])
    for view in ("weak", "strong"):
        assert torch.equal(whole[1].views[view], resumed[0].views[view])


def test_a_policy_of_timm_works_on_files(folder: Path) -> None:
    policy = "data.augmentation.policy=rand-m9-mstd0.5-inc1"
    train, _ = _sets(folder, _data())
    loader = create_loader(train, _data("data.image_size=32", policy))
    batch = loader.make_batch(_first_spec(loader))
    assert batch.views["weak"].shape == (16, 3, 32, 32)
    assert batch.views["weak"].is_contiguous(memory_format=torch.channels_last)


def test_images_in_memory_go_through_workers_too() -> None:
    images = torch.randint(0, 256, (20, 32, 32, 3), dtype=torch.uint8)
    loader = create_loader(InMemoryImages(images, torch.arange(20)), _data("data.image_size=48"))
    assert loader.make_batch(_first_spec(loader)).views["weak"].shape == (16, 3, 48, 48)


@pytest.mark.parametrize(
    ("size", "processes", "message"),
    [
        (16, 3, "16 is not divisible by the number of processes .3.; nearest: 15"),
    ],
)
def test_batches_that_do_not_divide_are_refused(
    size: int, processes: int, message: str, folder: Path
) -> None:
    train, _ = _sets(folder, _data())
    with pytest.raises(RequestError, match=message):
        create_loader(
            train, _data(f"data.batch_size={size}"), DataShard(0, processes, num_workers=1)
        )


def test_images_below_a_folder_that_is_no_text_are_checked_once(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"bilder_\xe4")
    make_folder(folder, 2, 1, classes=2)
    data = _data("data.num_classes=2")
    assert len(load_splits(data, folder, _silent).train) == 4
    caches = list(cache_folder().glob("checked-*.json"))
    assert caches
    for content in ("null", "[1]", "5"):
        for cache in caches:
            cache.write_text(content)
        assert len(load_splits(data, folder, _silent).train) == 4
