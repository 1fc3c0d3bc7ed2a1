"""The command ``lskd compare --train --sweep``."""

import json
from pathlib import Path

import pytest

from lskd_cli.config.requests import PresetOptions
from lskd_cli.config.sweep import grid_presets, parse_axes
from lskd_cli.errors import RequestError
from tests.cli.helpers import lskd
from tests.engine.helpers import SMALL_IMAGES, training_options

Capture = pytest.CaptureFixture[str]


def test_each_combination_is_a_preset_and_the_own_one_keeps_its_name() -> None:
    axes = parse_axes(["kd_weight=12,9", "temperature=2,3.5,2.0"])
    found = grid_presets("kd-r56-r20", PresetOptions(), Path("data"), 1, axes)
    assert [preset.run_path for preset in found] == [
        "kd-r56-r20+stand/seed1",
        "kd-r56-r20-temperature2-kd_weight12+stand/seed1",
        "kd-r56-r20-temperature3.5-kd_weight9+stand/seed1",
        "kd-r56-r20-temperature3.5-kd_weight12+stand/seed1",
    ]
    last = found[-1].stand
    assert last is not None
    assert (last.temperature, last.kd_weight) == (3.5, 12)
    assert [preset.published.top1_stand for preset in found] == [71.43, None, None, None]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["temperature"], "--sweep temperature: expected KEY=V1,V2"),
        (["enabled=true"], "--sweep enabled=true: expected KEY=V1,V2 with numbers"),
        (["temperature=1,,2"], "--sweep temperature=1,,2: expected"),
        (
            ["kd_weight=1", "kd_weight=2"],
            "--sweep kd_weight=2: expected KEY=V1,V2 with every KEY once",
        ),
    ],
)
def test_axes_that_are_none_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_axes(texts)


@pytest.mark.parametrize(("value", "name"), [(1234567.0, "1234567.0"), (1e6, "1e06"), (2.0, "2")])
def test_values_are_not_rounded(value: float, name: str) -> None:
    (preset,) = grid_presets("kd-r56-r20", PresetOptions(), Path(), 0, {"kd_weight": [value]})
    assert preset.stand is not None
    assert preset.stand.kd_weight == value
    assert preset.name == f"kd-r56-r20-kd_weight{name}"


def test_values_are_checked_like_any_other() -> None:
    with pytest.raises(RequestError, match=r"--set stand.temperature: should be greater than 0"):
        grid_presets("kd-r56-r20", PresetOptions(), Path("data"), 0, {"temperature": [-1.0]})
    with pytest.raises(
        RequestError, match=r"--sweep beta: method kd has no such hyper-parameter; choose"
    ):
        grid_presets("kd-r56-r20", PresetOptions(), Path("data"), 0, {"beta": [1.0]})
    with pytest.raises(RequestError, match="--sweep: preset alone-r20 has no teacher"):
        grid_presets("alone-r20", PresetOptions(), Path("data"), 0, {"temperature": [1.0]})


@pytest.mark.usefixtures("small_digits")
def test_a_sweep_is_trained_in_one_joint_run_with_the_plain_method(
    capsys: Capture, tmp_path: Path
) -> None:
    options = training_options(tmp_path)
    folders = ("--runs-dir", options.runs_dir, "--checkpoints-dir", options.checkpoints_dir)
    fixed = ("--device", "cpu", "--precision", "fp32", "--epochs", 1, "--format", "json")
    swept = ("--sweep", "temperature=2,4", "--sweep", "kd_weight=9,3")
    small = ("--set", SMALL_IMAGES)
    command = ("compare", "--train", "--preset", "kd-digits", *swept, *folders, *fixed, *small)
    result = lskd(capsys, *command)
    assert result.code == 0, result.err
    records = json.loads(result.out)
    assert [(one["name"], one["plain_n"], one["standardized_n"]) for one in records] == [
        ("kd-digits", 1, 1),
        ("kd-digits-temperature2-kd_weight3", 1, 1),
        ("kd-digits-temperature4-kd_weight3", 1, 1),
        ("kd-digits-temperature4-kd_weight9", 1, 1),
    ]
    info = json.loads((options.runs_dir / "kd-digits" / "seed0" / "run.json").read_text())
    assert len(info["joint_runs"]) == 5
    report = lskd(capsys, "report", *folders[:2], "--out", tmp_path / "report", "--json")
    assert report.code == 0, report.err
    page = (tmp_path / "report" / "index.html").read_text()
    assert "KD+Ours by base temperature and weight" in page


def test_a_sweep_without_training_is_refused(capsys: Capture, tmp_path: Path) -> None:
    result = lskd(capsys, "compare", "--sweep", "temperature=1,2", "--runs-dir", tmp_path)
    assert (result.code, "--sweep: only valid with --train" in result.err) == (2, True)
