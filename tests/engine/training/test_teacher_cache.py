"""The cache of teacher logits: equal training, checksums, kills and concurrent processes."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lskd_cli.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from lskd_cli.data.sets import digits
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.engine.training.teacher_cache import cache_path
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import create_model
from lskd_cli.models.output import Output
from lskd_cli.preprocessing import Preprocessing
from tests.digits import digits_loader
from tests.engine.helpers import digest, digits_preset, metrics, run_path, silent, train
from tests.workers import start

pytestmark = pytest.mark.usefixtures("small_digits")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logits"


def _file(folder: Path) -> Path:
    (path,) = folder.glob("*.npy")
    return path


def _student(root: Path, *more: str) -> str:
    return digest(run_path(root, digits_preset("kd", False, 2, *more)) / "student.safetensors")


@pytest.fixture
def teacher_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the teacher saw, call by call."""
    seen: list[int] = []
    original = Teacher.__call__

    def counted(self: Teacher, views: dict, wanted: list) -> dict:  # type: ignore[type-arg]
        seen.extend(len(views[view]) for view in wanted)
        return original(self, views, wanted)

    monkeypatch.setattr(Teacher, "__call__", counted)
    return seen


# mlkd counts samples below a median; rounding may move a sample across it.
@pytest.mark.parametrize(("method", "tolerance"), [("kd", 2e-3), ("mlkd", 1e-2)])
def test_training_is_the_same_to_half_precision(
    tmp_path: Path, folder: Path, method: str, tolerance: float
) -> None:
    preset = digits_preset(method)
    train([preset], tmp_path / "computed")
    train([preset], tmp_path / "kept", cache_dir=folder)
    computed, kept = (metrics(run_path(tmp_path / r, preset)) for r in ("computed", "kept"))
    for one, other in zip(computed, kept, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=tolerance)


def test_a_second_student_needs_no_teacher_and_learns_the_same(
    tmp_path: Path, folder: Path, teacher_images: list[int]
) -> None:
    preset = digits_preset()
    train([preset], tmp_path / "first", cache_dir=folder)
    assert 150 < sum(teacher_images) <= 300  # views that come again are known
    teacher_images.clear()
    train([preset], tmp_path / "again", cache_dir=folder)
    train([digits_preset(stand=True)], tmp_path / "again", cache_dir=folder)
    assert sum(teacher_images) == 0
    assert _student(tmp_path / "again") == _student(tmp_path / "first")


def test_kept_logits_are_those_of_the_view(tmp_path: Path, folder: Path) -> None:
    train([digits_preset()], tmp_path, cache_dir=folder)
    kept = np.load(_file(folder), mmap_mode="r")
    assert kept.shape == (150, 7 * 7 * 2)
    filled = kept["check"] != 0
    assert 150 < filled.sum() <= 300
    assert not kept["logits"][~filled].any()
    teacher = load_checkpoint(tmp_path / "checkpoints" / "resnet20.safetensors")
    network = teacher.load_network("resnet20", 10, 16)
    data = digits_preset().data
    images = digits.load(data, tmp_path, silent).train
    places = np.argwhere(filled)[::17]
    views = []
    for image, view in places:
        top, left = divmod(view // 2, 7)
        padded = np.pad(images.images[image].numpy(), ((3, 3), (3, 3), (0, 0)))
        views.append(padded[top : top + 16, left : left + 16] / 255)
    pixels = (np.stack(views) - data.mean) / data.std
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels).float().permute(0, 3, 1, 2)).numpy()
    found = np.stack([kept["logits"][image, view] for image, view in places])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * np.abs(expected).max()


def test_a_torn_row_is_computed_again(
    tmp_path: Path, folder: Path, teacher_images: list[int]
) -> None:
    train([digits_preset()], tmp_path / "first", cache_dir=folder)
    rows = np.load(_file(folder), mmap_mode="r+")
    image, view = np.argwhere(rows["check"] != 0)[7]
    rows["logits"][image, view, 3] += 1
    rows.flush()
    teacher_images.clear()
    train([digits_preset()], tmp_path / "second", cache_dir=folder)
    assert teacher_images == [1]
    first, second = (metrics(run_path(tmp_path / r, digits_preset())) for r in ("first", "second"))
    # Alone, an image is rounded otherwise than in a batch.
    assert second[-1]["train_loss"] == pytest.approx(first[-1]["train_loss"], rel=1e-3)


def test_a_file_that_is_truncated_in_use_is_filled_again(
    tmp_path: Path, folder: Path, teacher_images: list[int]
) -> None:
    preset = digits_preset()
    train([preset], tmp_path / "first", cache_dir=folder)
    file = _file(folder)
    size = file.stat().st_size
    teacher_images.clear()

    def truncate() -> bool:
        if not teacher_images:
            os.truncate(file, size // 2)
        return False

    train([preset], tmp_path / "second", cache_dir=folder, should_stop=truncate)
    assert sum(teacher_images) > 0
    assert _student(tmp_path / "second") == _student(tmp_path / "first")


def test_another_teacher_or_precision_has_a_file_of_its_own(tmp_path: Path, folder: Path) -> None:
    train([digits_preset()], tmp_path / "first", cache_dir=folder)
    other = create_model("resnet20", 10).state_dict()
    target = tmp_path / "second" / "checkpoints" / "resnet20.safetensors"
    save_checkpoint(target, other, {"dataset": "digits"})
    train([digits_preset()], tmp_path / "second", cache_dir=folder)
    assert len(list(folder.glob("*.npy"))) == 2
    train([digits_preset("kd", False, 2, "data.seed=3")], tmp_path / "third", cache_dir=folder)
    assert len(list(folder.glob("*.npy"))) == 2  # another order is the same views


def test_flipped_views_have_logits_of_their_own(
    tmp_path: Path, folder: Path, teacher_images: list[int]
) -> None:
    preset = digits_preset("kd", False, 2, "data.flip=true")
    train([preset], tmp_path / "computed")
    train([preset], tmp_path / "cached", cache_dir=folder)
    teacher_images.clear()
    train([preset], tmp_path / "reused", cache_dir=folder)
    assert sum(teacher_images) == 0
    computed = metrics(run_path(tmp_path / "computed", preset))
    for root in ("cached", "reused"):
        for one, other in zip(computed, metrics(run_path(tmp_path / root, preset)), strict=True):
            assert other["train_loss"] == pytest.approx(one["train_loss"], rel=2e-3)
    # The logits of an image and its mirror image differ.
    filled = np.load(_file(folder))["check"] != 0
    assert filled[:, 0::2].any()
    assert filled[:, 1::2].any()


@pytest.mark.parametrize(
    "setting",
    [
        "data.flip=true",
        "data.padding=2",
        "data.mean=[0.4, 0.4, 0.4]",
        "data.std=[0.4, 0.4, 0.4]",
        "data.limit_train=100",
    ],
)
def test_other_data_settings_have_a_file_of_their_own(folder: Path, setting: str) -> None:
    assert _cache_path(folder) == _cache_path(folder, "data.batch_size=32", "data.seed=5")
    assert _cache_path(folder, setting) != _cache_path(folder)


def test_another_preprocessing_precision_or_image_file_has_a_file_of_its_own(
    folder: Path,
) -> None:
    own = Preprocessing.of_data(digits_preset().data)
    paths = {
        _cache_path(folder),
        _cache_path(folder, preprocessing=replace(own, mean=(0.1, 0.2, 0.3))),
        _cache_path(folder, preprocessing=replace(own, image_size=32)),
        _cache_path(folder, precision="bf16"),
        _cache_path(folder, images="ab" * 32),
        _cache_path(folder, images="cd" * 32),
        _cache_path(folder, digest="12" * 32),
    }
    assert len(paths) == 7


def _cache_path(
    folder: Path,
    *settings: str,
    preprocessing: Preprocessing | None = None,
    precision: str = "fp32",
    images: str | None = None,
    digest: str = "00" * 32,
) -> Path:
    data = digits_preset("kd", False, 2, *settings).data
    preprocessing = preprocessing or Preprocessing.of_data(data)
    metadata = {"preprocessing": preprocessing.to_json()}
    teacher = TrainedNetwork(Checkpoint(Path("teacher"), {}, metadata, digest), "resnet20", data)
    return cache_path(folder, [teacher], data, precision, images)


def test_a_cache_of_another_teacher_is_refused(tmp_path: Path, folder: Path) -> None:
    train([digits_preset()], tmp_path / "first", cache_dir=folder)
    description = next(folder.glob("*.json"))
    text = description.read_text()
    description.write_text(text.replace("resnet20", "resnet32"))
    with pytest.raises(RequestError, match=r"describes another teacher or other images; remove"):
        train([digits_preset()], tmp_path / "second", cache_dir=folder)
    description.write_text(text)
    for content in (b"", b"nonsense"):
        _file(folder).write_bytes(content)
        with pytest.raises(
            RequestError, match=r"\.npy: corrupt or made from other images; remove it"
        ):
            train([digits_preset()], tmp_path / "third", cache_dir=folder, fresh=True)
    file = _file(folder)
    file.unlink()
    file.mkdir()  # cannot be opened, as a file of another user
    with pytest.raises(RequestError, match="cannot be opened: Is a directory; train without"):
        train([digits_preset()], tmp_path / "third", cache_dir=folder, fresh=True)


def test_a_full_disk_is_reported_before_training(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RequestError, match=r"needs 0\.00 GB: No space left on device"):
        train([digits_preset()], tmp_path, cache_dir=folder)
    assert not list(folder.glob("*.npy")) + list(folder.glob("*.tmp"))


def test_logits_too_large_for_half_precision_end_the_run(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Teacher,
        "__call__",
        lambda self, views, wanted: {
            v: Output(torch.full((len(views[v]), 10), 1e5)) for v in wanted
        },
    )
    with pytest.raises(RunError, match="a logit exceeds 65504"):
        train([digits_preset()], tmp_path, cache_dir=folder)


def _train_in_process(root: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    digits.load = digits_loader(150, 50)
    train([digits_preset()], root, cache_dir=folder)


def test_two_processes_fill_one_file(tmp_path: Path, folder: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    processes = [start(_train_in_process, root, folder) for root in roots]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    records = [metrics(run_path(root, digits_preset())) for root in roots]
    assert records[0][-1]["train_loss"] == pytest.approx(records[1][-1]["train_loss"], rel=1e-3)
