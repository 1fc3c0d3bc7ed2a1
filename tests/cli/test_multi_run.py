"""``lskd train`` with several presets and seeds."""

import json
from pathlib import Path

import pytest

from lskd_cli.config import load_preset, to_yaml
from lskd_cli.config.requests import select_shard
from lskd_cli.errors import RequestError
from tests.cli.helpers import Result, lskd
from tests.engine.helpers import SMALL_IMAGES, training_options

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("small_digits")


def _train(capsys: Capture, root: Path, *arguments: object) -> Result:
    options = training_options(root)
    folders = ("--runs-dir", options.runs_dir, "--checkpoints-dir", options.checkpoints_dir)
    fixed = ("--device", "cpu", "--precision", "fp32", "--epochs", 1, "--set", SMALL_IMAGES)
    return lskd(capsys, "train", *folders, *fixed, *arguments)


def test_every_preset_is_trained_with_every_seed(tmp_path: Path, capsys: Capture) -> None:
    presets = ("--preset", "kd-digits", "--preset", "dkd-digits", "--stand")
    result = _train(capsys, tmp_path, *presets, "--seeds", "0,1", "--json")
    assert result.code == 0, result.err
    records = json.loads(result.out)
    runs = [f"{name}-digits+stand/seed{seed}" for name in ("kd", "dkd") for seed in (0, 1)]
    assert [record["run"] for record in records] == [str(tmp_path / "runs" / run) for run in runs]
    assert {record["state"] for record in records} == {"done"}
    assert "run 4 of 4: dkd-digits+stand/seed1" in result.err


def test_finished_runs_are_skipped(tmp_path: Path, capsys: Capture) -> None:
    _train(capsys, tmp_path, "--preset", "kd-digits", "--seed", 1)
    before = (tmp_path / "runs" / "kd-digits" / "seed1" / "run.json").read_text()
    result = _train(capsys, tmp_path, "--preset", "kd-digits", "--seeds", "0,1")
    assert result.code == 0
    assert "seed1: already finished" in result.err
    assert (tmp_path / "runs" / "kd-digits" / "seed1" / "run.json").read_text() == before
    assert "done" in result.out


def test_all_runs_are_checked_before_the_first_one_starts(tmp_path: Path, capsys: Capture) -> None:
    presets = ("--preset", "kd-digits", "--preset", "kd-r56-r20", "--preset", "kd-r32x4-r8x4")
    result = _train(capsys, tmp_path, *presets)
    assert result.code == 2
    assert "error teacher resnet56 (100 classes) is neither in" in result.err
    assert "error teacher resnet32x4 (100 classes) is neither in" in result.err
    assert not list((tmp_path / "runs").glob("*/seed0"))


def test_a_failure_does_not_end_the_others(tmp_path: Path, capsys: Capture) -> None:
    diverging = tmp_path / "diverging.yaml"
    preset = load_preset("kd-digits", ["optimizer.lr=2e9", "name=diverging"])
    diverging.write_text(to_yaml(preset))
    result = _train(capsys, tmp_path, "--preset", diverging, "--preset", "kd-digits", "--json")
    assert result.code == 1
    failed, done = json.loads(result.out)
    assert (failed["state"], done["state"]) == ("failed", "done")
    assert "not finite" in failed["error"]
    assert "1 of 2 runs failed: diverging/seed0" in result.err


def test_a_request_may_train_a_teacher_before_its_student(tmp_path: Path, capsys: Capture) -> None:
    teacher = tmp_path / "teacher-own.yaml"
    overrides = ["name=teacher-own", "student=resnet14"]
    teacher.write_text(to_yaml(load_preset("teacher-digits", overrides)))
    student = tmp_path / "student.yaml"
    overrides = ["name=student", "teacher=resnet14"]
    student.write_text(to_yaml(load_preset("kd-digits", overrides)))
    reversed_order = _train(capsys, tmp_path, "--preset", student, "--preset", teacher)
    assert (reversed_order.code, "teacher resnet14" in reversed_order.err) == (2, True)
    result = _train(capsys, tmp_path, "--preset", teacher, "--preset", student)
    assert result.code == 0, result.err
    info = json.loads((tmp_path / "runs/student/seed0/run.json").read_text())
    assert info["teacher"] == str(tmp_path / "runs/teacher-own/seed0/student.safetensors")


def test_a_loss_that_is_not_finite_is_a_failure_of_its_run(tmp_path: Path, capsys: Capture) -> None:
    spoiled = ("--preset", "alone-digits", "--seeds", "0,1", "--set", "optimizer.lr=2e9")
    result = _train(capsys, tmp_path, *spoiled)
    assert result.code == 1
    assert "2 of 2 runs failed" in result.err
    assert result.out.count("failed") == 2


def test_shards_are_the_whole_without_overlap() -> None:
    presets = [load_preset("kd-digits", [f"seed={seed}"]) for seed in range(7)]
    parts = [select_shard(presets, f"{number}/3") for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [3, 2, 2]
    assert sorted(p.seed for part in parts for p in part) == list(range(7))


def test_a_shard_trains_its_part(tmp_path: Path, capsys: Capture) -> None:
    command = ("--preset", "alone-digits", "--seeds", "0,1,2", "--shard", "2/2", "--json")
    result = _train(capsys, tmp_path, *command)
    assert [Path(record["run"]).name for record in json.loads(result.out)] == ["seed1"]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_more_shards_than_runs_are_no_error(
    tmp_path: Path, capsys: Capture, more: tuple[str, ...]
) -> None:
    command = ("--preset", "alone-digits", "--seeds", "0,1", "--shard", "3/4", "--json", *more)
    result = _train(capsys, tmp_path, *command)
    assert (result.code, json.loads(result.out)) == (0, [])
    assert result.err == "--shard 3/4: no run is left for it\n"


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_refused(shard: str) -> None:
    with pytest.raises(RequestError, match="expected I/N"):
        select_shard([], shard)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "1", "--seeds", "0,1"), "--seed and --seeds are mutually exclusive"),
        (("--seeds", "0,x"), "--seeds 0,x: expected integers"),
    ],
)
def test_seeds_are_given_in_one_way(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    result = _train(capsys, tmp_path, "--preset", "kd-digits", *arguments)
    assert result.code == 2
    assert message in result.err
