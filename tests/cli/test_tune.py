"""The command ``lskd tune``."""

import json
import shutil
from pathlib import Path

import pytest

from lskd_cli.config import load_preset
from lskd_cli.engine.training import cost
from lskd_cli.io.locks import file_lock
from tests.cli.helpers import lskd
from tests.engine.helpers import SMALL_IMAGES, training_options

Capture = pytest.CaptureFixture[str]


def _arguments(root: Path, *more: str) -> list[str]:
    options = training_options(root)
    folders = ["--checkpoints-dir", str(options.checkpoints_dir), "--runs-dir", str(root / "runs")]
    return ["tune", "kd-digits", "--set", SMALL_IMAGES, "--precision", "fp32", *folders, *more]


@pytest.mark.usefixtures("small_digits")
def test_a_search_writes_a_preset_and_the_command_that_tests_it(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "_ENOUGH_SECONDS", 0.0)
    words = ("--epochs", "2", "--trials", "4")
    result = lskd(capsys, *_arguments(tmp_path, *words))
    assert result.code == 0, result.err
    assert "joint runs of 2 trials; estimate without pruning: 0:" in result.err
    assert "kd-digits: resnet20 → resnet8 on digits, 4 trials of 2 epochs, tpe" in result.err
    assert "plain 0 starts: temperature 4, kd_weight 0.9" in result.err
    assert "standardized 1 is " in result.err
    assert "kd-digits: top-1 accuracy on 15 held-out training images after 2 epochs" in result.out
    folder = tmp_path / "runs" / "tune-kd-digits"
    preset = load_preset(folder / "kd-digits-tuned.yaml")
    untuned = load_preset("kd-digits", [SMALL_IMAGES])
    assert preset.schedule == untuned.schedule
    assert preset.data == untuned.data
    command = result.err.splitlines()[-1].split()
    assert command[:6] == [
        "lskd", "compare", "--train", "--preset", str(folder / "kd-digits-tuned.yaml"), "--preset",
    ]  # fmt: skip
    assert load_preset(command[6]) == untuned.with_stand(False)
    assert command[7:11] == ["--seeds", "1,2,3,4,5", "--epochs", "2"]
    assert "fp32" in command
    assert str(tmp_path / "runs") in command

    again = lskd(capsys, *_arguments(tmp_path, *words, "--json"))
    assert again.code == 0
    assert "starts" not in again.err
    search = json.loads(again.out)
    assert (search["num_trials"], search["held_out"], len(search["trials"])) == (4, 15, 4)

    shutil.copytree(folder, tmp_path / "runs" / "tune-copy")
    report = lskd(
        capsys, "report", "--runs-dir", tmp_path / "runs", "--out", tmp_path / "page", "--figures"
    )
    assert report.code == 0, report.err
    assert "0 runs, 2 searches" in report.err
    page = (tmp_path / "page" / "index.html").read_text()
    for name in ("search-kd-digits", "search-kd-digits-2"):
        assert page.count(f'id="{name}"') == 1
        assert (tmp_path / "page" / "figures" / f"{name}.svg").stat().st_size > 5000

    other = lskd(capsys, *_arguments(tmp_path, *words, "--space", "stand.temperature=1:2"))
    assert other.code == 2
    assert "belongs to another search (preset, space differ); use --set name=NEW" in other.err
    assert len(other.err.splitlines()) == 1

    with file_lock(folder / "trials" / "trial0", wait=False):  # as a process that trains it
        running = lskd(capsys, *_arguments(tmp_path, *words, "--fresh"))
    assert running.code == 2
    assert "another process is searching; stop it, or use --set name=NEW" in running.err
    wrong = lskd(capsys, *_arguments(tmp_path, *words, "--fresh", "--val-split", "0"))
    assert wrong.code == 2
    assert "no images are held out" in wrong.err
    assert (folder / "search.json").exists()


@pytest.mark.usefixtures("small_digits")
def test_a_grid_has_a_trial_for_each_point(tmp_path: Path, capsys: Capture) -> None:
    words = ["--sampler", "grid", "--epochs", "1", "--pruner", "none", "--parallel", "6"]
    spaces = ["--space", "method=kd,dkd", "--space", "stand.kd_weight=1,3,9"]
    result = lskd(capsys, *_arguments(tmp_path, *words, *spaces, "--json"))
    assert result.code == 0, result.err
    settings = [trial["settings"] for trial in json.loads(result.out)["trials"]]
    assert sorted((item["method"], item["stand.kd_weight"]) for item in settings) == [
        (method, weight) for method in ("dkd", "kd") for weight in (1, 3, 9)
    ]
    assert all(trial["state"] == "complete" for trial in json.loads(result.out)["trials"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "kd-digits"], "name one preset"),
        (["--space", "method=kd,nope"], "--space method: nope is unknown; choose from fitnet"),
        (["--space", "method=kd,dkd", "--space", "method=kd,at"], "--space method: given twice"),
        (["--space", "stand.temperature=1:2:2"], "--space stand.temperature=1:2:2: expected"),
        (
            ["--space", "student=resnet8,resnet9"],
            "--space student resnet9: unknown model; nearest: resnet8",
        ),
        (["--sampler", "grid"], "--sampler grid: method.temperature is a range; give its values"),
        (["--trials", "1"], "--trials 1: at least 2, one for each method, plain and standardized"),
        (["--seeds", "0,0"], "--seeds 0,0: a seed is given twice"),
        (["--seeds", "0,-5"], "--seeds -5: must be from 0 to 2147483647"),
        (
            ["--set", f"name={'n' * 96}"],
            "must have at most 94 characters, because -tuned is added to it",
        ),
        (["--fresh", "--storage", "sqlite:///x.db"], "--fresh: not valid with --storage"),
        (["--storage", "sqlite:////missing/x.db"], "--storage sqlite:////missing/x.db: cannot be"),
        (["--set", "nonsense=1"], "unknown key"),
    ],
)
def test_a_wrong_request_is_one_line_and_nothing_is_trained(
    words: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    result = lskd(capsys, *_arguments(tmp_path, "--epochs", "1", *words))
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not list((tmp_path / "runs").glob("**/*.yaml"))


def test_a_preset_without_teacher_is_refused(tmp_path: Path, capsys: Capture) -> None:
    result = lskd(capsys, "tune", "alone-r20", "--runs-dir", tmp_path)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "preset alone-r20 has no teacher; tune a preset with a method" in result.err
