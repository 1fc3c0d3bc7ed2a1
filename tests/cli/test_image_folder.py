"""The commands on a folder of images, with networks of one's own."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config.requests import PresetOptions, requested_preset
from lskd_cli.models import create_model
from tests.cli.helpers import Result, lskd
from tests.image_folders import make_folder

Capture = pytest.CaptureFixture[str]
SMALL = ("data.image_size=32", "data.batch_size=16", "optimizer.lr=0.01", "student=resnet8")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "images", train=8, val=3, classes=4)


def _command(root: Path, name: str, folder: Path, *more: object) -> tuple[object, ...]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return (
        name, *settings, "--dataset", "imagefolder", "--data-dir", folder, "--device", "cpu",
        "--runs-dir", root / "runs", "--checkpoints-dir", root / "checkpoints", *more,
    )  # fmt: skip


def _train(capsys: Capture, root: Path, preset: str, folder: Path, *more: object) -> Result:
    command = _command(root, "train", folder, "--preset", preset, "--epochs", 1, *more)
    return lskd(capsys, *command)


def test_a_teacher_its_student_their_table_and_their_evaluation(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    own = ("--set", "student=resnet20", "--set", "name=teacher-own")
    trained = _train(capsys, tmp_path, "teacher-imagenet-resnet34", folder, *own)
    assert trained.code == 0, trained.err
    teacher = ("--teacher-checkpoint", tmp_path / "runs" / "teacher-own" / "seed0")
    own = (*teacher, "--teacher", "resnet20", "--stand", "--json")
    distilled = _train(capsys, tmp_path, "kd-imagenet-r34-r18", folder, *own)
    assert distilled.code == 0, distilled.err
    info = json.loads(distilled.out)
    assert info["last"]["data_wait_seconds"] >= 0
    compared = lskd(capsys, "compare", "--runs-dir", tmp_path / "runs", "--format", "json")
    rows = {row["name"]: row for row in json.loads(compared.out)}
    row = rows["kd-imagenet-r34-r18"]
    assert (row["dataset"], row["teacher"], row["student"]) == (
        "imagefolder",
        "resnet20",
        "resnet8",
    )
    assert row["published_standardized"] is None  # of other images
    runs = tmp_path / "runs"
    evaluated = lskd(
        capsys, "eval", runs / "kd-imagenet-r34-r18+stand" / "seed0", "--json",
        "--teacher", runs / "teacher-own" / "seed0", "--data-dir", folder,
    )  # fmt: skip
    found = json.loads(evaluated.out)
    assert found["top1"] == info["last"]["test_top1"]
    assert found["loss"] == pytest.approx(info["last"]["test_loss"], rel=1e-5)
    command = ("report", "--runs-dir", runs, "--data-dir", folder, "--out", tmp_path / "report")
    reported = lskd(capsys, *command)
    assert "computing logits of 2 networks" in reported.err
    assert "figures of logits are left out" not in reported.err
    page = (tmp_path / "report" / "index.html").read_text()
    assert "KD: logits of one image: resnet20 → resnet8, imagefolder, 1 epoch" in page


def test_a_teacher_of_ones_own_comes_from_a_library_and_a_pickled_file(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    weights = tmp_path / "mine.pth"
    network = timm.create_model("resnet10t", num_classes=4)
    torch.save({"state_dict": network.state_dict()}, weights)
    own = ("--teacher", "timm/resnet10t", "--teacher-checkpoint", weights)
    result = _train(capsys, tmp_path, "dkd-imagenet-r34-r18", folder, *own)
    assert result.code == 0, result.err
    run = tmp_path / "runs" / "dkd-imagenet-r34-r18" / "seed0" / "run.json"
    assert json.loads(run.read_text())["teacher"] == str(weights)
    command = ("report", "--runs-dir", tmp_path / "runs", "--data-dir", folder)
    reported = lskd(capsys, *command, "--out", tmp_path / "report")
    assert "figures of logits are left out" not in reported.err


def test_a_cifar_student_learns_from_a_folder_and_its_weights_alone_are_evaluated(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    assert _train(capsys, tmp_path, "alone-r20", folder).code == 0
    run = tmp_path / "runs" / "alone-r20" / "seed0"
    assert "top-1" in lskd(capsys, "eval", run).out  # with the folder of the training
    alone = tmp_path / "weights.safetensors"
    (run / "student.safetensors").rename(alone)
    result = lskd(capsys, "eval", alone, "--data-dir", folder, "--json")
    assert json.loads(result.out)["dataset"] == "imagefolder"


def test_a_teacher_of_other_classes_is_refused(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    classes = json.dumps([path.name for path in sorted((folder / "train").iterdir())])
    weights = tmp_path / "teacher.safetensors"
    metadata = {"model": "resnet20", "num_classes": "4", "classes": classes}
    save_checkpoint(weights, create_model("resnet20", 4).state_dict(), metadata)
    other = make_folder(tmp_path / "other", train=8, val=3, classes=4)
    for part in ("train", "val"):
        (other / part / "class03").rename(other / part / "zebra")
    teacher = ("--teacher", "resnet20", "--teacher-checkpoint", weights)
    result = _train(capsys, tmp_path, "kd-imagenet-r34-r18", other, *teacher)
    assert result.code == 2
    assert "trained on other classes: 'class03' where --data-dir has 'zebra'" in result.err


def test_a_finished_run_of_other_classes_is_not_taken_for_this_one(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    own = ("--set", "student=resnet8")
    assert _train(capsys, tmp_path, "alone-r20", folder, *own).code == 0
    assert "already finished" in _train(capsys, tmp_path, "alone-r20", folder, *own).err
    other = make_folder(tmp_path / "other", train=8, val=3, classes=4)
    for part in ("train", "val"):
        (other / part / "class03").rename(other / part / "zebra")
    result = _train(capsys, tmp_path, "alone-r20", other, *own)
    assert result.code == 2
    assert (
        "'class03' where --data-dir has 'zebra'; keep both runs with --set name=NEW" in result.err
    )


def test_a_transformer_learns_from_a_folder_with_every_method(folder: Path) -> None:
    for method in ("kd", "mlkd"):
        changes = PresetOptions(dataset="imagefolder")
        preset = requested_preset(f"{method}-r56g-deit-tiny", changes, folder)
        assert preset.data.num_classes == 4
        assert preset.data.augmentation is not None
        assert preset.data.augmentation.policy is not None


def test_fresh_is_refused_on_several_machines(
    tmp_path: Path, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    own = ("--set", "student=resnet8", "--fresh")
    result = _train(capsys, tmp_path, "alone-r20", folder, *own)
    assert result.code == 2
    assert "--fresh is not supported on several machines" in result.err


def test_a_run_is_resumed_only_with_its_own_images(
    tmp_path: Path, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ("--set", "student=resnet8", "--epochs", "2")
    monkeypatch.setattr("lskd_cli.engine.runs.run_folder.RunFolder.finish", lambda *_: None)
    _train(capsys, tmp_path, "alone-r20", folder, *own)
    Image.new("RGB", (9, 9)).save(folder / "train" / "class00" / "new.png")
    result = _train(capsys, tmp_path, "alone-r20", folder, *own)
    assert result.code == 2
    assert "was started with other images than those in --data-dir" in result.err


def test_bad_images_are_left_out_when_asked(tmp_path: Path, folder: Path, capsys: Capture) -> None:
    (folder / "train" / "class00" / "0.jpeg").write_text("no image")
    own = ("--set", "student=resnet8")
    refused = _train(capsys, tmp_path, "alone-r20", folder, *own)
    assert refused.code == 2
    assert "1 unreadable images" in refused.err
    assert not list((tmp_path / "runs").glob("*/seed0"))
    trained = _train(capsys, tmp_path, "alone-r20", folder, *own, "--skip-bad-images")
    assert trained.code == 0
    assert trained.err.count(f"{folder}: unreadable images that are left out: 1\n") == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ("--teacher", "timm/resnet10"),
            "--teacher timm/resnet10: unknown model; nearest: timm/resnet10t",
        ),
        ((), "'lskd train --preset teacher-imagenet-resnet34 --dataset imagefolder'"),
    ],
)
def test_a_missing_teacher_is_reported(
    more: tuple[str, ...], message: str, tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    result = _train(capsys, tmp_path, "kd-imagenet-r34-r18", folder, *more)
    assert result.code == 2
    assert message in result.err


def test_only_folders_are_another_dataset(tmp_path: Path, folder: Path, capsys: Capture) -> None:
    command = ("train", "--preset", "kd-digits", "--dataset", "mnist")
    assert "--dataset mnist: should be one of cifar100, " in lskd(capsys, *command).err
    missing = ("train", "--preset", "kd-digits", "--dataset", "imagefolder", "--data-dir", tmp_path)
    assert "train: no such folder" in lskd(capsys, *missing).err


def test_a_method_of_features_refuses_a_network_without(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    own = ("--teacher", "torchvision/vit_b_16")
    result = _train(capsys, tmp_path, "guidance-imagenet-r34-r18", folder, *own)
    assert result.code == 2
    assert "torchvision/vit_b_16 provides none" in result.err
