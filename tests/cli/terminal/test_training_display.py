"""The display of a training on a terminal."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from lskd_cli.cli.terminal import live_display, training_display
from lskd_cli.cli.terminal.training_display import TrainingDisplay, _term_label
from tests.engine.helpers import digits_preset, train


@pytest.mark.usefixtures("small_digits")
def test_a_terminal_shows_bars_losses_and_accuracies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=120, height=30)
    for module in (live_display, training_display):
        monkeypatch.setattr(module, "err", terminal)
    monkeypatch.setattr(training_display, "_REFRESH_INTERVAL", 0.0)
    presets = [digits_preset(), digits_preset(stand=True)]
    with TrainingDisplay(presets, 150, "resnet20 → resnet8") as shown:
        train(presets, tmp_path, shown)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue()).split("resnet20 → resnet8")[-1]
    assert re.search(r"training .* 300/300", last)
    assert re.search(r"epoch 2/2 .* 150/150", last)
    assert re.search(r"run +loss +0\.1 ce +weighted kd +train top-1 +test top-1 +best +lr", last)
    assert re.search(r"kd-digits\+stand +\d+\.\d{4} .*\(epoch [12]\)", last)


@pytest.mark.usefixtures("small_digits")
def test_without_a_terminal_every_method_has_one_line_an_epoch_with_the_range_over_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    for module in (live_display, training_display):
        monkeypatch.setattr(module, "err", Console(file=io.StringIO()))
        monkeypatch.setattr(module, "info", lines.append)
    presets = [digits_preset(), digits_preset("kd", False, 2, "seed=1"), digits_preset(stand=True)]
    with TrainingDisplay(presets, 150, "resnet20 → resnet8") as shown:
        train(presets, tmp_path, shown)
    heading, *epochs = lines
    assert heading == "resnet20 → resnet8"
    assert len(epochs) == 4
    several = [line for line in epochs if line.startswith("kd-digits 2 seeds  epoch ")]
    single = [line for line in epochs if line.startswith("kd-digits+stand seed 0  epoch ")]
    assert len(several) == len(single) == 2
    number = r"\d+\.\d{2}"
    assert re.search(rf"test {number}( to {number})? %  best {number}( to {number})? %", several[0])
    assert re.search(r"loss \d+\.\d{4} to \d+\.\d{4} \(0\.1 ce \d+\.\d{4} to ", several[0])
    assert " to " not in single[0]
    assert ", 0.9 kd " in several[0]
    assert ", 9 kd " in single[0]


def test_a_term_has_the_weight_of_its_own() -> None:
    methods = {name: digits_preset(name).method for name in ("kd", "wkd_f", "wkd", "mlkd")}
    labels = {
        (name, term): _term_label(f"train_{term}", [methods[name]])
        for name, term in (
            ("kd", "ce"), ("kd", "kd"), ("wkd_f", "wkd_f"), ("wkd_f", "ce"), ("wkd", "transport"),
            ("mlkd", "cc"),
        )
    }  # fmt: skip
    assert list(labels.values()) == ["0.1 ce", "0.9 kd", "0.08 wkd_f", "ce", "transport", "cc"]
