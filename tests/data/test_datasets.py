"""CIFAR-100 from its files, digits from scikit-learn, held-out splits, corrupt files."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100

from lskd_cli.config import Data, load_data, load_preset
from lskd_cli.data import load_splits
from lskd_cli.errors import RequestError, RunError
from tests.cifar import cifar_files


def _silent(done: int, total: int | None) -> None:
    pass


def _write_cifar100(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-100 of 20 training and 10 test images, whose digests torchvision accepts."""
    base = folder / "cifar-100-python"
    base.mkdir(parents=True)
    digests = {}
    for name, content in cifar_files().items():
        (base / name).write_bytes(content)
        digests[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", digests["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", digests["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": digests["meta"]})
    return base


def _cifar(val_split: float = 0.0) -> Data:
    return load_data("cifar100").model_copy(update={"val_split": val_split})


def test_cifar100_is_read_as_torchvision_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_cifar100(tmp_path, monkeypatch)
    dataset = load_splits(_cifar(), tmp_path, _silent)
    expected = CIFAR100(str(tmp_path), train=True)
    assert np.array_equal(dataset.train.images.numpy(), expected.data)
    assert dataset.train.targets.tolist() == expected.targets
    assert (len(dataset.train), len(dataset.test), dataset.val) == (20, 10, None)


@pytest.mark.parametrize("damage", [b"", b"half a file"])
def test_a_corrupt_file_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    base = _write_cifar100(tmp_path, monkeypatch)
    (base / "test").write_bytes(damage)
    with pytest.raises(RequestError, match=r"test: corrupt .* remove .* download it again"):
        load_splits(_cifar(), tmp_path, _silent)
    assert (base / "test").read_bytes() == damage


def test_a_missing_file_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _write_cifar100(tmp_path, monkeypatch)
    (base / "train").unlink()
    with pytest.raises(RequestError, match=r"train: cannot be read: No such file"):
        load_splits(_cifar(), tmp_path, _silent)


def test_an_absent_cifar100_is_downloaded_with_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _write_cifar100(tmp_path / "origin", monkeypatch)
    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(base, "cifar-100-python")
    monkeypatch.setattr(CIFAR100, "url", archive.as_uri())
    monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    seen: list[tuple[int, int | None]] = []
    dataset = load_splits(_cifar(), tmp_path / "new", lambda *bytes_: seen.append(bytes_))
    assert len(dataset.train) == 20
    assert seen[-1] == (archive.stat().st_size, archive.stat().st_size)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cifar-100-python"]


def test_a_download_with_the_wrong_digest_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(b"not the archive")
    monkeypatch.setattr(CIFAR100, "url", archive.as_uri())
    with pytest.raises(RunError, match="wrong md5"):
        load_splits(_cifar(), tmp_path / "new", _silent)
    assert not (tmp_path / "new").exists()


def test_digits_are_gray_32_pixel_images_of_ten_classes() -> None:
    dataset = load_splits(load_data("digits"), Path(), _silent)
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    images = dataset.train.images
    assert images.shape == (1437, 32, 32, 3)
    assert images.dtype == torch.uint8
    assert torch.equal(images[..., 0], images[..., 2])
    assert images.float().mean().item() / 255 == pytest.approx(0.305, abs=0.002)
    assert images.float().std().item() / 255 == pytest.approx(0.324, abs=0.002)
    assert dataset.test.targets.bincount().min() >= 34


def test_a_held_out_split_is_stratified_disjoint_and_always_the_same() -> None:
    data = load_data("digits").model_copy(update={"val_split": 0.1})
    first, second = (load_splits(data, Path(), _silent) for _ in range(2))
    assert first.val is not None
    assert second.val is not None
    assert len(first.train) + len(first.val) == 1437
    assert len(first.val) == 144
    assert torch.equal(first.val.images, second.val.images)
    assert first.val.targets.bincount().min() >= 13
    complete = load_splits(load_data("digits"), Path(), _silent).train.images
    parts = torch.cat([first.train.images, first.val.images])
    assert torch.equal(parts.sum(0), complete.sum(0))


def test_a_split_that_leaves_classes_empty_is_refused() -> None:
    data = load_data("digits").model_copy(update={"val_split": 0.001})
    with pytest.raises(RequestError, match=r"data\.val_split: cannot split off 0\.001"):
        load_splits(data, Path(), _silent)


def test_a_limit_takes_a_stratified_subset_and_keeps_the_test_set() -> None:
    data = load_data("digits").model_copy(update={"limit_train": 200, "val_split": 0.1})
    first, second = (load_splits(data, Path(), _silent) for _ in range(2))
    assert (len(first.train), len(first.val or []), len(first.test)) == (200, 144, 360)
    assert torch.equal(first.train.images, second.train.images)
    assert first.train.targets.bincount().min() >= 19
    more = data.model_copy(update={"limit_train": 100_000})
    assert len(load_splits(more, Path(), _silent).train) == 1437 - 144


def test_a_limit_below_one_image_a_class_is_refused() -> None:
    data = load_data("digits").model_copy(update={"limit_train": 9})
    with pytest.raises(RequestError, match=r"data\.limit_train: cannot split off 9"):
        load_splits(data, Path(), _silent)


def test_a_network_with_a_preset_of_its_own_sees_images_as_there() -> None:
    assert load_data("cifar100", "resnet20").image_size == 32
    assert load_data("cifar100", "deit_tiny") == load_preset("alone-deit-tiny").data
    assert load_data("cifar100", "resnet56_guide").mean == [0.485, 0.456, 0.406]
    assert load_data("digits", "resnet20").name == "digits"
    with pytest.raises(
        RequestError, match=r"unknown data set 'cifar100_vit'; choose one of cifar100, d"
    ):
        load_data("cifar100_vit")
