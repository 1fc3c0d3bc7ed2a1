"""The table of a training fits the screen."""

import io

import pytest
from rich.console import Console

from lskd_cli.cli.terminal.training_table import Row, training_table

TERMS = {"train_ce": "0.1 ce", "train_kd": "0.9 kd", "train_feature": "feature"}
VALUES = {
    "train_loss": 1.5, "train_ce": 1.0, "train_kd": 0.4, "train_feature": 0.1, "train_top1": 50.0,
    "test_top1": 40.0, "best": 41.0, "best_epoch": 7, "lr": 0.05,
}  # fmt: skip
NAME = "kd-imagenet-r34-r18-strong+stand"


def _lines(rows: list[Row], width: int, height: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(training_table(rows, TERMS, console, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (130, "run loss 0.1 ce 0.9 kd feature train top-1 test top-1 best lr"),
        (110, "run loss 0.1 ce 0.9 kd feature train top-1 test top-1 best lr"),
        (80, "run loss train top-1 test top-1 best lr"),
        (74, "run loss train top-1 test top-1 best"),
        (64, "run loss test top-1 best"),
    ],
)
def test_columns_are_left_out_in_a_fixed_order(width: int, headings: str) -> None:
    lines = _lines([Row(NAME, NAME, VALUES)], width)
    assert " ".join(lines[0].split()) == headings
    assert lines[1].startswith(NAME)
    assert len(lines) == 2
    assert ("41.00 (epoch 7)" in lines[1]) == (width == 130)


def test_seeds_are_averaged_if_the_screen_is_low() -> None:
    rows = [
        Row(run, f"{run} seed {seed}", {**VALUES, "test_top1": 40.0 + seed})
        for run in ("kd", "dkd")
        for seed in (0, 1, 2)
    ]
    assert len(_lines(rows, 100, height=7)) == 7
    lines = _lines(rows, 100, height=6)
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "kd (mean of 3 seeds)",
        "dkd (mean of 3 seeds)",
    ]
    assert "41.00" in lines[1]


def test_runs_that_do_not_fit_are_counted() -> None:
    rows = [Row(f"run{number}", f"run{number}", VALUES) for number in range(9)]
    lines = _lines(rows, 100, height=6)
    assert len(lines) == 6
    assert lines[-1].strip() == "... and 5 more"


def test_values_that_do_not_exist_yet_are_empty() -> None:
    assert _lines([Row("kd", "kd", {})], 100)[1].strip() == "kd"
