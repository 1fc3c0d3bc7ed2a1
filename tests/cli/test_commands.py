"""The commands as a user types them, on the small digits."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.cli import completion, main
from lskd_cli.cli.terminal.console import print_json
from lskd_cli.config import Preset, load_preset
from lskd_cli.engine.planning import teacher_files
from lskd_cli.engine.training import train
from lskd_cli.models import create_model
from tests.cli.helpers import Result, lskd
from tests.engine.helpers import SMALL_IMAGES, after, training_options
from tests.workers import run_lskd, start

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("small_digits")


def _folders(root: Path) -> tuple[str, ...]:
    options = training_options(root)
    return (
        "--runs-dir", str(options.runs_dir), "--checkpoints-dir", str(options.checkpoints_dir),
    )  # fmt: skip


def _small(arguments: Sequence[object]) -> tuple[str, ...]:
    """Options of a training; digits have 16 pixels, which take a quarter of the time."""
    is_digits = any("digits" in str(argument) for argument in arguments)
    return ("--device", "cpu", "--precision", "fp32", *(("--set", SMALL_IMAGES) * is_digits))


def _train(capsys: Capture, root: Path, *arguments: object) -> Result:
    return lskd(capsys, "train", *_folders(root), *_small(arguments), *arguments)


def _compare(capsys: Capture, root: Path, *arguments: object) -> Result:
    return lskd(capsys, "compare", *_folders(root)[:2], *arguments)


def _train_and_compare(capsys: Capture, root: Path, *arguments: object) -> Result:
    return lskd(capsys, "compare", "--train", *_folders(root), *_small(arguments), *arguments)


@pytest.mark.parametrize(
    "command", ["fetch-teachers", "train", "eval", "compare", "report", "presets show"]
)
def test_help_shows_an_example(capsys: Capture, command: str) -> None:
    result = lskd(capsys, *command.split(), "--help")
    assert result.code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.out)
    assert re.search(rf"Examples?:\s+lskd {command}", text)


def test_the_version_is_printed(capsys: Capture) -> None:
    assert lskd(capsys, "--version").out == "lskd 0.1.0\n"


def test_without_a_terminal_training_prints_a_line_for_every_epoch(
    capsys: Capture, tmp_path: Path
) -> None:
    result = _train(capsys, tmp_path, "--preset", "kd-digits", "--stand", "--epochs", 2, "--json")
    assert result.code == 0, result.err
    lines = [line for line in result.err.splitlines() if "epoch" in line and "images/s" in line]
    assert len(lines) == 2
    assert re.search(
        r"kd-digits\+stand seed 0  epoch 2/2  loss [\d.]+ \(0\.1 ce [\d.]+, 9 kd [\d.]+\)", lines[1]
    )
    info = json.loads(result.out)
    assert info["state"] == "done"
    assert info["run"].endswith("runs/kd-digits+stand/seed0")


def test_a_finished_run_is_reported_and_skipped(capsys: Capture, trained_copy: Path) -> None:
    again = _train(capsys, trained_copy, "--preset", "kd-digits", "--epochs", 2)
    assert again.code == 0
    assert "already finished; use --fresh to retrain" in again.err


def test_options_change_the_preset(capsys: Capture, tmp_path: Path) -> None:
    options = ("--seed", 3, "--val-split", 0.2, "--base-temp", 3, "--kd-weight", 6, "--stand")
    result = _train(capsys, tmp_path, "--preset", "dkd-digits", "--epochs", 1, *options)
    assert result.code == 0, result.err
    preset = yaml.safe_load((tmp_path / "runs/dkd-digits+stand/seed3/preset.yaml").read_text())
    assert (preset["seed"], preset["data"]["val_split"]) == (3, 0.2)
    assert preset["stand"] == {"enabled": True, "temperature": 3.0, "kd_weight": 6.0}


def test_a_dry_run_writes_nothing(capsys: Capture, tmp_path: Path) -> None:
    result = _train(capsys, tmp_path, "--preset", "mlkd-digits", "--dry-run")
    assert result.code == 0, result.err
    assert yaml.safe_load(result.out)["method"]["name"] == "mlkd"
    assert "train_cc" in result.out
    assert "# estimate: 0:" in result.out
    as_json = _train(capsys, tmp_path, "kd-digits", "--dry-run", "--fresh", "--json")
    assert {"preset", "losses", "step_seconds", "num_steps"} < json.loads(as_json.out).keys()
    assert not (tmp_path / "runs").exists()


def test_a_printed_preset_can_be_trained(capsys: Capture, tmp_path: Path) -> None:
    shown = lskd(capsys, "presets", "show", "kd-digits", "--set", "name=mine")
    (tmp_path / "mine.yaml").write_text(shown.out)
    assert lskd(capsys, "presets", "validate", tmp_path / "mine.yaml").code == 0
    result = _train(capsys, tmp_path, "--preset", tmp_path / "mine.yaml", "--epochs", 1)
    assert result.code == 0, result.err
    assert (tmp_path / "runs/mine/seed0/student.safetensors").exists()


def test_the_teacher_cache_stores_logits(capsys: Capture, tmp_path: Path) -> None:
    result = _train(capsys, tmp_path, "--preset", "kd-digits", "--epochs", 1, "--teacher-cache")
    assert result.code == 0, result.err
    names = {path.suffix for path in (tmp_path / "checkpoints/logits").iterdir()}
    assert {".npy", ".json"} <= names
    info = json.loads((tmp_path / "runs/kd-digits/seed0/run.json").read_text())
    assert info["teacher_cache"] is True


def test_added_parameters_are_reported_and_not_needed_by_eval(
    capsys: Capture, tmp_path: Path
) -> None:
    few = ("--epochs", 1, "--limit-train", 200)
    result = _train(capsys, tmp_path, "--preset", "crd-digits", *few)
    assert result.code == 0, result.err
    assert "CRD adds 16,640 trainable parameters (training only)" in result.err
    measured = lskd(capsys, "eval", tmp_path / "runs/crd-digits/seed0", "--json")
    info = json.loads((tmp_path / "runs/crd-digits/seed0/run.json").read_text())
    record = json.loads(measured.out)
    assert record["top1"] == pytest.approx(info["last"]["test_top1"])


def test_the_presets_are_listed_with_their_published_values(capsys: Capture) -> None:
    names = json.loads(lskd(capsys, "presets", "list", "--json").out)
    assert names["kd-r32x4-r8x4"] == {"top1": 73.33, "top1_stand": 76.62}
    assert "kd-r32x4-r8x4" in lskd(capsys, "presets", "list", "r8x4").out


def test_the_list_of_presets_is_filtered(capsys: Capture) -> None:
    options = ("--method", "ctkd", "--teacher", "vgg13", "--data", "cifar100", "--json")
    names = json.loads(lskd(capsys, "presets", "list", *options).out)
    assert list(names) == ["ctkd-v13-mv2", "ctkd-v13-v8"]
    names = json.loads(lskd(capsys, "presets", "list", "--student", "resnet8x4", "--json").out)
    assert {name.partition("-")[2] for name in names} == {"r8x4", "r32x4-r8x4", "w40-2-r8x4"}
    names = json.loads(lskd(capsys, "presets", "list", "--method", "none", "--json").out)
    assert {"alone-r20", "teacher-resnet56"} <= set(names)
    nothing = lskd(capsys, "presets", "list", "--student", "nothing")
    assert nothing.code == 1
    assert nothing.err.startswith("error no preset matches; 'lskd presets list' prints all")


def test_the_difference_of_two_presets_is_shown(capsys: Capture) -> None:
    lines = lskd(capsys, "presets", "diff", "kd-r56-r20", "dkd-r56-r20").out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["method.name"] == ["kd", "dkd"]
    assert "method.alpha" in rows
    assert "optimizer.lr" not in rows


def test_a_preset_is_named_without_an_option_and_changed_by_short_ones(
    capsys: Capture, tmp_path: Path
) -> None:
    options = ("--lr", "0.02", "--batch-size", "32", "--weight-decay", "0.001")
    printed = _train(capsys, tmp_path, "kd-digits", "--dry-run", *options).out
    preset = yaml.safe_load(printed)
    assert preset["name"] == "kd-digits"
    assert preset["data"]["batch_size"] == 32
    assert (preset["optimizer"]["lr"], preset["optimizer"]["weight_decay"]) == (0.02, 0.001)
    refused = _train(capsys, tmp_path, "kd-digits", "--lr", "-1")
    assert refused.code == 2
    assert "--lr: should be greater than 0" in refused.err
    assert "name a preset; 'lskd presets list' shows" in _train(capsys, tmp_path).err


def test_the_teacher_of_embedded_images_is_trained_first(
    capsys: Capture, tmp_path: Path, small_digits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_short(name: str, **options: bool) -> Preset:
        return load_preset(name, **options).with_epochs(1)

    monkeypatch.setattr(teacher_files, "load_preset", load_short)
    folders = [f"--{name}-dir={tmp_path / name}" for name in ("checkpoints", "runs")]
    result = lskd(capsys, "train", "kd-digits", "--epochs", 1, "--device", "cpu", *folders)
    assert result.code == 0, result.err
    first = "the teacher resnet20 is trained first: teacher-digits, 1 epoch"
    assert result.err.index(first) < result.err.index("kd-digits/seed0: top-1")
    assert (tmp_path / "runs/teacher-digits/seed0/student.safetensors").exists()


def test_a_single_image_that_is_left_out_is_reported(capsys: Capture, tmp_path: Path) -> None:
    result = _train(capsys, tmp_path, "kd-digits", "--epochs", 1, "--batch-size", 149)
    assert result.code == 0, result.err
    assert "149 of 150 images are used in each epoch: the last batch would have a" in result.err


def test_names_are_completed() -> None:
    assert list(completion.presets("ctkd-v13")) == ["ctkd-v13-mv2", "ctkd-v13-v8"]
    assert list(completion.models("resnet8")) == ["resnet8", "resnet8x4"]
    assert "timm/resnet18" in completion.models("timm/resnet1")
    assert list(completion.custom_datasets("")) == ["imagefolder", "csv", "npz", "tar", "hfds/"]


def test_an_interruption_saves_the_state_and_prints_how_to_resume(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = train.train_epochs
    # as Ctrl-C during the second step
    monkeypatch.setattr(train, "train_epochs", lambda *parts: original(*parts[:-1], after(2)))
    command = ["train", "--preset", "kd-digits", "--fresh", *_folders(tmp_path)]
    monkeypatch.setattr("sys.argv", ["lskd", *command])
    result = lskd(capsys, *command)
    assert result.code == 130
    assert "stopped at epoch 1, step 2 of 3; the state is saved" in result.err
    expected = " ".join(word for word in command if word != "--fresh")
    assert f"resume with: lskd {expected}" in result.err
    assert (tmp_path / "runs/kd-digits/seed0/resume.pt").exists()


class TestCompare:
    def test_plain_and_standardized_students_are_trained_in_one_joint_run(
        self, capsys: Capture, tmp_path: Path
    ) -> None:
        command = ("--preset", "kd-digits", "--seeds", "0,1", "--epochs", 1)
        result = _train_and_compare(capsys, tmp_path, *command)
        assert result.code == 0, result.err
        assert re.search(r"^estimate: 0:\d\d:\d\d for 3 steps, ", result.err, re.MULTILINE)
        for seed in (0, 1):
            for name in ("kd-digits", "kd-digits+stand"):
                info = json.loads((tmp_path / f"runs/{name}/seed{seed}/run.json").read_text())
                # The four students of two seeds are trained in one pass.
                assert info["joint_runs"] == [
                    f"{run}/seed{number}"
                    for number in (0, 1)
                    for run in ("kd-digits", "kd-digits+stand")
                ]
        assert "Teacher" in result.out
        assert "KD" in result.out

    def test_finished_runs_are_not_trained_again(self, capsys: Capture, trained_copy: Path) -> None:
        command = ("--preset", "kd-digits", "--seeds", "0,1", "--epochs", 2)
        result = _train_and_compare(capsys, trained_copy, *command)
        assert result.err.count("already finished") == 4

    def test_json_has_every_number(self, capsys: Capture, trained: Path) -> None:
        (row,) = json.loads(_compare(capsys, trained, "--format", "json").out)
        assert (row["name"], row["teacher"], row["student"]) == ("kd-digits", "resnet20", "resnet8")
        assert (row["plain_n"], row["standardized_n"], row["difference_n"]) == (2, 2, 2)
        gain = row["standardized_mean"] - row["plain_mean"]
        assert row["difference_mean"] == pytest.approx(gain)
        assert (row["accuracy"], row["teacher_top1"]) == ("best", 50.0)

    @pytest.mark.parametrize(
        ("format_", "start"),
        [("md", "Top-1"), ("latex", "% Top-1"), ("csv", "accuracy,name"), ("table", "Top-1")],
    )
    def test_every_format_holds_the_row(
        self, capsys: Capture, trained: Path, format_: str, start: str
    ) -> None:
        result = _compare(capsys, trained, "--format", format_)
        assert result.code == 0, result.err
        assert result.out.lstrip().startswith(start)
        assert "resnet20" in result.out

    def test_the_last_epoch_can_be_asked_for(self, capsys: Capture, trained: Path) -> None:
        (row,) = json.loads(_compare(capsys, trained, "--format", "json", "--accuracy", "last").out)
        assert row["accuracy"] == "last"

    def test_the_report_is_one_file_that_needs_nothing_else_and_figures_for_a_paper(
        self, capsys: Capture, trained: Path, tmp_path: Path
    ) -> None:
        command = ["report", *_folders(trained)[:2], "--out", tmp_path / "report", "--figures"]
        result = lskd(capsys, *command, "--classes", "3,8", "--json")
        assert result.code == 0, result.err
        page = (tmp_path / "report" / "index.html").read_text()
        for title in (
            "Test accuracy by epoch",
            "Training loss by epoch",
            "KD: logits of one image",
            "Features",
        ):
            assert f'aria-label="{title}: resnet20 → resnet8, digits, 2 epochs"' in page
        assert page.count("<figure ") == 7
        # Besides links within the page, nothing is loaded: neither by elements nor by styles.
        html = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
        assert not re.search(r"""(src|href)=["'](?!#|data:)|url\(|@import""", html)
        files = json.loads(result.out)["figures"]
        names = {Path(file).name.removesuffix("-resnet20-resnet8-digits-2.pdf") for file in files}
        assert {"accuracy", "loss", "sample-kd", "classes-kd", "moments", "tsne"} <= names
        assert len(files) == 21
        assert sorted(files) == sorted(map(str, (tmp_path / "report" / "figures").iterdir()))

    def test_impossible_figures_are_left_out_of_the_page_with_a_message(
        self, capsys: Capture, trained: Path, tmp_path: Path
    ) -> None:
        command = ["report", *_folders(trained)[:2], "--out", tmp_path / "without"]
        result = lskd(capsys, *command, "--sample", "50", "--classes", "10")
        assert (
            "--sample 50: no such test image; the figure is left out of resnet20 → resnet8"
            in result.err
        )
        assert "--classes: only 0 images; the t-SNE is left out of resnet20 → resnet8" in result.err
        assert (tmp_path / "without/index.html").read_text().count("<figure ") == 5
        assert lskd(capsys, *command, "--classes", "cat").code == 2
        assert "computing logits" not in lskd(capsys, *command, "--no-logits").err
        assert (tmp_path / "without/index.html").read_text().count("<figure ") == 3

    def test_without_weights_or_teacher_the_page_has_curves_and_a_message_says_why(
        self, capsys: Capture, trained: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(trained / "runs", tmp_path / "runs")
        for run in ("kd-digits/seed0", "kd-digits/seed1", "kd-digits+stand/seed0"):
            (tmp_path / "runs" / run / "student.safetensors").unlink()
        command = ["report", "--runs-dir", tmp_path / "runs", "--out", tmp_path / "report"]
        messages = lskd(capsys, *command).err
        assert (
            f"left out of the figures of logits: {tmp_path}/runs/kd-digits/seed0: contains"
            in messages
        )
        assert "computing logits of 2 networks" in messages  # the other seed has its weights
        for run in (tmp_path / "runs").glob("*/*/run.json"):
            run.write_text(run.read_text().replace("resnet20.safetensors", "gone.safetensors"))
        assert "figures of logits are left out: " in lskd(capsys, *command).err
        assert (tmp_path / "report" / "index.html").read_text().count("<figure ") == 3

    def test_details_are_one_table_per_group_with_both_epochs(
        self, capsys: Capture, trained: Path
    ) -> None:
        text = _compare(capsys, trained, "--details", "--format", "md").out
        assert re.search(r"\| Method +\| +n \| +Best epoch \|", text)
        assert "resnet8 from resnet20 (50.00 %) on digits, 2 epochs" in text
        records = json.loads(_compare(capsys, trained, "--details", "--format", "json").out)
        assert [(arm["method"], arm["n"]) for arm in records] == [("KD", 2), ("KD+Ours", 2)]

    def test_unfinished_runs_are_left_out_with_a_message(
        self, capsys: Capture, trained: Path, tmp_path: Path
    ) -> None:
        run = trained / "runs/kd-digits/seed1"
        copy = tmp_path / "runs/kd-digits/seed1"
        copy.mkdir(parents=True)
        for name in ("run.json", "preset.yaml", "metrics.jsonl"):
            text = (run / name).read_text().replace('"state": "done"', '"state": "interrupted"')
            (copy / name).write_text(text)
        result = _compare(capsys, trained, run, copy, "--format", "json")
        assert "unfinished runs are left out: kd-digits (seed 1)" in result.err
        assert json.loads(result.out)[0]["plain_n"] == 1

    def test_a_run_is_evaluated_with_its_teacher(self, capsys: Capture, trained: Path) -> None:
        run, teacher = (
            trained / "runs/kd-digits/seed0",
            trained / "checkpoints/resnet20.safetensors",
        )
        result = json.loads(lskd(capsys, "eval", run, "--teacher", teacher, "--json").out)
        recorded = json.loads((run / "run.json").read_text())["last"]
        assert result["top1"] == recorded["test_top1"]
        assert result["loss"] == pytest.approx(recorded["test_loss"], rel=1e-4)
        assert set(result) >= {"agreement", "kl", "kl_standardized", "ece"}
        shown = lskd(capsys, "eval", run, "--teacher", teacher).out
        std, spread = (result[f"logit_std{end}"] for end in ("", "_spread"))
        assert f"standard deviation of logits {std:.2f} ± {spread:.2f}" in " ".join(shown.split())

    def test_several_runs_are_evaluated_in_one_table(self, capsys: Capture, trained: Path) -> None:
        runs = [trained / f"runs/{name}/seed0" for name in ("kd-digits", "kd-digits+stand")]
        command = ["eval", *runs, "--teacher", trained / "checkpoints/resnet20.safetensors"]
        command += ["--temperature", "4"]
        result = json.loads(lskd(capsys, *command, "--json").out)
        alone = json.loads(lskd(capsys, "eval", runs[1], *command[3:], "--json").out)
        assert result["students"][1] == alone
        assert set(result["concordant_pairs"]) == {"kl", "kl_standardized", "pairs"}
        shown = lskd(capsys, *command)
        cells = [line.split() for line in shown.out.splitlines()]
        [of_run] = [row for row in cells if row and row[0] == str(runs[1])]
        assert of_run[-1] == f"{alone['kl_standardized']:.4f}"
        assert "at base temperature 4" in " ".join(shown.out.split())
        assert "The KL at the shared temperature ranks" in shown.err
        refused = lskd(capsys, *command[:-1], "0")
        assert (refused.code, refused.err.strip()) == (
            2, "error --temperature 0: must be from 0.001 to 1000",
        )  # fmt: skip

    def test_runs_of_different_data_are_not_evaluated_together(
        self, capsys: Capture, trained: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.safetensors"
        save_checkpoint(other, create_model("resnet8", 100).state_dict(), {"model": "resnet8"})
        run = trained / "runs/kd-digits/seed0"
        message = f"{other}: trained on cifar100, but {run}/student.safetensors on digits"
        assert message in lskd(capsys, "eval", run, other).err


WRONG_REQUESTS = {
    "an unknown preset": (
        ("--preset", "kd-digit"),
        "unknown preset 'kd-digit'; nearest: kd-digits",
    ),
    "an unknown key": (("--preset", "kd-digits", "--set", "method.t=3"), "method.t: unknown key"),
    "a negative temperature": (
        ("--preset", "kd-digits", "--base-temp", "-1"),
        "--base-temp: should be greater than 0, not -1.0",
    ),
    "nothing to standardize": (
        ("--preset", "alone-digits", "--stand"),
        "has no teacher, so there is nothing",
    ),
    "an unknown model": (
        ("--preset", "kd-digits", "--set", "student=resnet9"),
        "preset kd-digits: student: unknown model 'resnet9'; nearest:",
    ),
    "a teacher's file that is not there": (
        ("--preset", "kd-digits", "--teacher-checkpoint", "none.safetensors"),
        "none.safetensors: no such run or weight file",
    ),
    "no teacher": (
        ("--preset", "kd-digits", "--teacher", "null"),
        "--teacher null: unknown model",
    ),
    "a negative seed": (
        ("--preset", "kd-digits", "--seed", "-1"),
        "--seed: should be greater than or equal to 0, not -1",
    ),
    "a base temperature of zero": (
        ("--preset", "kd-digits", "--stand", "--base-temp", "0"),
        "--base-temp: should be greater than 0, not 0.0",
    ),
    "too large a validation split": (
        ("--preset", "kd-digits", "--val-split", "1"),
        "--val-split: should be less than 1, not 1.0",
    ),
    "a precision of GPUs": (
        ("--preset", "kd-digits", "--device", "cpu", "--precision", "tf32"),
        "--precision tf32: requires CUDA; use fp32 or bf16",
    ),
    "graphs on a CPU": (
        ("--preset", "kd-digits", "--device", "cpu", "--graphs"),
        "--graphs: requires CUDA",
    ),
    "too small a size for a network of a library": (
        ("--preset", "kd-digits", "--student", "torchvision/alexnet"),
        "data.image_size: torchvision/alexnet does not take images of 16 pixels (",
    ),
    "a size between two patches": (
        ("--preset", "kd-r56g-deit-tiny", "--set", "data.image_size=100"),
        "preset kd-r56g-deit-tiny: data.image_size: DeiT needs a multiple of its patch size (16 ",
    ),
    "a guided layer that is not there": (
        ("--preset", "guidance-r56g-deit-tiny", "--set", "method.student_layers=[0, 6, 12]"),
        "method.student_layers: must be between 0 and 11, not 12",
    ),
    "guidance with standardization": (
        ("--preset", "guidance-r56g-deit-tiny", "--stand"),
        "--stand: method guidance has no standardized form",
    ),
    "a guide that nobody publishes": (
        ("--preset", "kd-r56g-deit-tiny"),
        "'lskd train --preset teacher-resnet56-guide' or --teacher-checkpoint FILE",
    ),
    "too few images for a batch": (
        ("--preset", "alone-digits", "--limit-train", "50", "--set", "data.drop_last=true"),
        "data.batch_size: batch_size (64) exceeds the training set (50 images)",
    ),
    "a cache for other augmentation": (
        ("--preset", "alone-deit-tiny", "--teacher-cache"),
        "--teacher-cache: supported only without data.augmentation",
    ),
    "an unknown device": (("--preset", "kd-digits", "--device", "tpu"), "--device tpu"),
}


@pytest.mark.parametrize("case", WRONG_REQUESTS)
def test_a_wrong_request_is_a_line_and_exit_code_2(
    capsys: Capture, tmp_path: Path, case: str
) -> None:
    arguments, message = WRONG_REQUESTS[case]
    result = _train(capsys, tmp_path, *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.glob("runs/**/run.json"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_gpu_that_is_not_there_is_a_wrong_request(capsys: Capture, tmp_path: Path) -> None:
    result = lskd(capsys, "train", "--preset", "kd-digits", "--device", "cuda")
    assert result.code == 2
    assert "not available" in result.err


def test_a_teacher_of_another_number_of_classes_is_refused(capsys: Capture, tmp_path: Path) -> None:
    teacher = training_options(tmp_path).checkpoints_dir / "resnet20.safetensors"
    command = ("--preset", "kd-r56-r20", "--set", "teacher=resnet20", "--teacher-checkpoint")
    result = _train(capsys, tmp_path, *command, teacher)
    assert result.code == 2
    assert "has 10 classes, but cifar100 has 100; fine-tune it with" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "--train"), "select what to train with --preset"),
        (("compare", "--preset", "kd-digit"), "unknown preset 'kd-digit'"),
        (("compare", "a", "--train", "-p", "kd-digits"), "a: --train trains presets"),
        (("compare", "--format", "xml"), "Invalid value for '--format'"),
        (("compare", "--accuracy", "mean"), "Invalid value for '--accuracy'"),
        (("train", "--preset", "kd-digits", "--precision", "fp8"), "Invalid value for"),
        (("compare", "--device", "cpu"), "--device: only valid with --train"),
        (("compare", "--details", "--accuracy", "last"), "--accuracy: not valid with --details"),
        (("eval", "run", "--temperature", "4"), "--temperature: only valid with --teacher"),
        (("report", "--no-logits", "--sample", "3"), "--sample: not valid with --no-logits"),
        (("fetch-teachers", "--list", "--fresh"), "--fresh: not valid with --list"),
        (("compare", "--train", "-p", "kd-digits", "--seeds", "a"), "--seeds a: expected"),
        (("compare", "--epochs", "3", "--fresh"), "--epochs, --fresh: only valid with --train"),
        (("compare", "--train", "-p", "kd-digits", "--set", "seed=3"), "use --seeds with --train"),
        (("compare", "nowhere"), "nowhere: contains no run"),
        (("eval", "nowhere"), "nowhere: no such run or weight file"),
        (("report", "nowhere"), "nowhere: contains no run"),
        (("presets", "show", "kd"), "unknown preset 'kd'"),
    ],
)
def test_other_wrong_requests_are_refused(
    capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    result = lskd(capsys, *arguments)
    assert result.code == 2
    assert message in result.err


def test_without_runs_the_message_says_how_to_train_some(capsys: Capture, tmp_path: Path) -> None:
    assert "'lskd compare --train'" in lskd(capsys, "compare", "--runs-dir", tmp_path).err
    assert "'lskd train'" in lskd(capsys, "report", "--runs-dir", tmp_path).err


def test_a_corrupt_run_is_named_and_the_others_are_shown(
    capsys: Capture, trained_copy: Path
) -> None:
    broken = trained_copy / "runs/kd-digits/seed2/run.json"
    broken.parent.mkdir()
    broken.write_text("{")
    result = _compare(capsys, trained_copy, "--format", "json")
    assert result.code == 0
    assert f"{broken}: corrupt" in result.err
    assert json.loads(result.out)[0]["plain_n"] == 2


def test_an_internal_error_is_a_line_without_traceback(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("lskd_cli.cli.presets.load_preset", fails)
    result = lskd(capsys, "presets", "show", "kd-digits")
    assert (result.code, "Traceback" in result.err) == (1, False)
    assert (
        "ZeroDivisionError: oops (internal error; please report it with --debug output)"
        in result.err
    )
    assert "Traceback" in lskd(capsys, "--debug", "presets", "show", "kd-digits").err


def test_the_program_can_be_started_as_a_module() -> None:
    command = [sys.executable, "-m", "lskd_cli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "lskd 0.1.0\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    command = f"exec {sys.executable} -m lskd_cli presets list {closed}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


class _Failing(io.RawIOBase):
    """A file that cannot be written."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, _content: object) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("number", "lines"), [(errno.ENOSPC, 1), (errno.EPIPE, 0)])
def test_results_that_cannot_be_written_fail_the_command(
    number: int, lines: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = io.TextIOWrapper(io.BufferedWriter(_Failing(number)))
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as exit_:
        main(["presets", "show", "kd-digits"])
    assert exit_.value.code == 1
    assert len(capsys.readouterr().err.splitlines()) == lines
    with suppress(OSError):
        full.close()


def test_an_error_is_printed_although_results_cannot_be_written(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = io.TextIOWrapper(io.BufferedWriter(_Failing(errno.EPIPE)), errors="replace")
    full.write("rows")
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as exit_:
        main(["presets", "show", "nothing"])
    assert exit_.value.code == 2
    assert "nothing" in capsys.readouterr().err
    with suppress(OSError):
        full.close()


def test_json_in_a_file_has_no_colors() -> None:
    command = [sys.executable, "-m", "lskd_cli", "presets", "list", "kd-r56", "--json"]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "FORCE_COLOR": "1"}
    )
    assert "kd-r56-r20" in json.loads(result.stdout)


def test_a_folder_whose_name_is_not_utf8_is_printed_as_json(capsys: Capture) -> None:
    print_json({"run": Path(os.fsdecode(b"r\xe9")), "loss": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"run": "r\udce9", "loss": None}


# All three have the same handler; those of schedulers are tested with the slow tests.
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_run_and_the_printed_command_resumes_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = ["train", "--preset", "kd-digits", "--epochs", "3", "--device", "cpu"]
    command += ["--limit-train", "256", "--set", SMALL_IMAGES]
    messages = tmp_path / "messages"
    process = start(run_lskd, *command, *_folders(tmp_path), err=messages)
    while not messages.exists() or "epoch 1/3" not in messages.read_text():
        assert process.exitcode is None
        time.sleep(0.01)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == 130
    text = messages.read_text()
    assert "stopping after this step" in text
    assert re.search(r"stopped at epoch 2, step \d+ of 4; the state is saved; resume with: ", text)
    info = json.loads((tmp_path / "runs/kd-digits/seed0/run.json").read_text())
    assert info["state"] == "interrupted"
    again = start(run_lskd, *command, *_folders(tmp_path), err=messages)
    again.join()
    assert again.exitcode == 0
    assert "resuming at epoch 2, step" in messages.read_text()


def test_training_goes_on_when_nobody_reads_its_messages(tmp_path: Path) -> None:
    command = ["train", "--preset", "kd-digits", "--epochs", "2", "--limit-train", "128"]
    messages = tmp_path / "messages"
    os.mkfifo(messages)
    process = start(run_lskd, *command, *_folders(tmp_path), err=messages)
    with messages.open() as reader:
        reader.readline()
    process.join()
    assert process.exitcode == 0
    info = json.loads((tmp_path / "runs/kd-digits/seed0/run.json").read_text())
    assert info["state"] == "done"


@pytest.mark.parametrize(
    "delay", [0.1, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.05, 0.3))]
)
def test_an_early_interruption_prints_no_traceback(delay: float) -> None:
    code = "import sys, time; print(flush=True); from lskd_cli.__main__ import main; main()"
    command = [sys.executable, "-c", code, "presets", "show", "kd-digits"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in messages


def test_text_from_outside_cannot_control_the_terminal(capsys: Capture, tmp_path: Path) -> None:
    name = tmp_path / "\x1b[31m[bold]:x:" / ("a" * 200)
    result = lskd(capsys, "compare", name)
    assert result.code == 2
    assert r"\x1b[31m[bold]:x:" in result.err
    assert "\x1b" not in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", "1" + 400 * "0"), "--epochs"),
        (("--stand", "--base-temp", "1e300"), "--base-temp: should be at most 2**31 in magnitude"),
        (("--set", "optimizer.grad_accum_steps=1000000000"), "must not exceed data.batch_size"),
        (("--process-timeout", "5"), "--process-timeout: only valid under torchrun"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_that_would_hang_or_fail_late_is_refused(
    capsys: Capture, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = _train(capsys, tmp_path, "--preset", "kd-digits", *options)
    assert result.code == 2
    assert message in result.err
    assert len(result.err) < 2000
    assert not (tmp_path / "runs").exists()


def test_long_messages_are_shortened(capsys: Capture) -> None:
    result = lskd(capsys, "presets", "show", "x" * 100_000)
    assert result.code == 2
    assert result.err.startswith("error unknown preset 'xxx")
    assert len(result.err) < 1200


def test_settings_of_a_standardized_preset_go_to_its_standardization(
    capsys: Capture, tmp_path: Path
) -> None:
    options = ("--set", "stand.enabled=true", "--base-temp", 5, "--dry-run")
    preset = yaml.safe_load(_train(capsys, tmp_path, "--preset", "kd-digits", *options).out)
    assert (preset["stand"]["temperature"], preset["method"]["temperature"]) == (5.0, 4.0)


def test_presets_that_would_share_a_folder_are_refused(capsys: Capture, tmp_path: Path) -> None:
    command = ("-p", "kd-digits", "-p", "dkd-digits", "--set", "name=both")
    result = _train_and_compare(capsys, tmp_path, *command)
    assert result.code == 2
    assert "requested twice with different settings" in result.err


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_cut_on_a_narrow_screen(
    capsys: Capture, trained: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("lskd_cli.cli.compare.out", Console(width=width))
    result = _compare(capsys, trained)
    assert result.code == 0, result.err
    assert "…" not in result.out
    assert max(map(len, result.out.splitlines())) <= width


@pytest.mark.parametrize("where", [".", "kd-digits", "kd-digits/seed0"])
def test_runs_can_be_named_from_inside_their_folder(
    capsys: Capture, trained: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(trained / "runs")
    assert lskd(capsys, "compare", where).code == 0


def test_eval_takes_the_normalization_of_the_run(capsys: Capture, tmp_path: Path) -> None:
    options = ("--set", "data.mean=[0.9,0.9,0.9]", "--set", "data.std=[0.1,0.1,0.1]")
    _train(capsys, tmp_path, "--preset", "kd-digits", "--epochs", 2, *options)
    run = tmp_path / "runs/kd-digits/seed0"
    recorded = json.loads((run / "run.json").read_text())["last"]
    result = json.loads(lskd(capsys, "eval", run, "--json").out)
    assert result["loss"] == pytest.approx(recorded["test_loss"], rel=1e-4)


def test_a_folder_of_a_run_is_taken_for_its_weights(capsys: Capture, tmp_path: Path) -> None:
    teacher = ("--preset", "teacher-digits", "--epochs", 1)
    assert _train(capsys, tmp_path, *teacher).code == 0
    folder = tmp_path / "runs/teacher-digits/seed0"
    student = ("--preset", "kd-digits", "--epochs", 1, "--teacher-checkpoint", folder)
    assert _train(capsys, tmp_path, *student).code == 0
    empty = _train(capsys, tmp_path, *student[:-1], folder.parent, "--fresh")
    assert empty.code == 2
    assert "contains no student.safetensors" in empty.err


def test_compare_after_a_fresh_start_shows_the_new_run(capsys: Capture, tmp_path: Path) -> None:
    command = ("--preset", "kd-digits", "--epochs", 1)
    _train(capsys, tmp_path, *command)
    _train(capsys, tmp_path, *command, "--set", "method.temperature=3", "--fresh")
    rows = json.loads(_compare(capsys, tmp_path, tmp_path / "runs", "--format", "json").out)
    assert [row["plain_n"] for row in rows] == [1]


def test_validate_reports_every_wrong_file(capsys: Capture, tmp_path: Path) -> None:
    for name, text in (("a.yaml", "x: 1"), ("b.yaml", "- 1")):
        (tmp_path / name).write_text(text)
    result = lskd(
        capsys, "presets", "validate", tmp_path / "a.yaml", "kd-digits", tmp_path / "b.yaml"
    )
    assert result.code == 2
    assert "kd-digits: valid" in result.err
    assert "a.yaml: x: unknown key" in result.err
    assert "b.yaml: expected keys and values" in result.err


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")]
)
def test_too_small_a_memory_is_a_line_outside_of_training_too(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("lskd_cli.engine.training.dry_run.dry_run", fail)
    monkeypatch.setattr("lskd_cli.engine.diagnosis.diagnose", fail)
    result = lskd(capsys, "doctor", "--data-dir", tmp_path)
    assert result.code == 1
    assert result.err.startswith("error out of memory (")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("temperature", ["1e200", "1e-200", "inf", "nan", "0"])
def test_a_temperature_without_a_meaning_is_refused(
    capsys: Capture, trained: Path, temperature: str
) -> None:
    run = trained / "runs" / "kd-digits" / "seed0"
    result = lskd(capsys, "eval", run, "--teacher", run, "--temperature", temperature)
    assert result.code == 2
    assert result.err == f"error --temperature {float(temperature):g}: must be from 0.001 to 1000\n"


def test_a_network_of_other_classes_is_not_evaluated(capsys: Capture) -> None:
    command = ("eval", "pretrained", "--model", "resnet56", "--dataset", "digits")
    result = lskd(capsys, *command)
    assert result.code == 2
    assert "has 100 classes, but digits has 10; --dataset selects other images" in result.err


def test_a_terminal_without_a_size_shows_messages(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    process = start(run_lskd, "train", "kd-digit", environment={"COLUMNS": "0"}, err=messages)
    process.join()
    assert process.exitcode == 2
    assert "unknown preset 'kd-digit'" in messages.read_text()


def test_runs_below_a_folder_that_is_no_text_are_reported(
    capsys: Capture, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"l\xe4ufe")
    shutil.copytree(trained / "runs", folder)
    result = lskd(
        capsys, "report", "--runs-dir", folder, "--out", tmp_path / "report", "--no-logits"
    )
    assert result.code == 0, result.err
    assert "l?ufe/kd-digits/seed0" in (tmp_path / "report" / "index.html").read_text()
