"""Every shared option reaches its field."""

from pathlib import Path
from typing import Any

import pytest
import torch.distributed.run
import typer
from typer.testing import CliRunner

from lskd_cli.cli.app import app
from lskd_cli.cli.training_options import PARAMETERS, with_training_options
from lskd_cli.config import PresetOptions, TrainingOptions


def _parse(*arguments: str) -> tuple[PresetOptions, TrainingOptions]:
    found: list[tuple[PresetOptions, TrainingOptions]] = []
    app = typer.Typer()

    @app.command()
    @with_training_options
    def command(changes: PresetOptions, training: TrainingOptions) -> None:
        found.append((changes, training))

    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return found[0]


def test_the_defaults_are_those_of_the_fields() -> None:
    assert _parse() == (PresetOptions(), TrainingOptions())


def test_every_option_reaches_its_field() -> None:
    changes, training = _parse(
        "--set", "seed=1", "--set", "data.batch_size=8", "--epochs", "3", "--val-split", "0.1",
        "--limit-train", "9", "--batch-size", "16", "--lr", "0.3", "--weight-decay", "0.2",
        "--teacher", "t", "--teacher", "u", "--student", "s", "--init", "i", "--dataset", "csv",
        "--teacher-checkpoint", "teacher.pth", "--teacher-checkpoint", "other",
        "--data-dir", "images", "--checkpoints-dir", "weights", "--runs-dir", "trained",
        "--device", "cpu", "--precision", "bf16", "--no-graphs", "--compile",
        "--teacher-cache", "--skip-bad-images", "--checkpoint-minutes", "2.5",
        "--process-timeout", "4", "--fresh",
    )  # fmt: skip
    settings = ["seed=1", "data.batch_size=8"]
    assert changes == PresetOptions(settings, 3, 0.1, 9, 16, 0.3, 0.2, ["t", "u"], "s", "i", "csv")
    folders = (Path("images"), Path("weights"), Path("trained"))
    assert training == TrainingOptions(
        *folders,
        [Path("teacher.pth"), Path("other")],
        True,
        True,
        2.5,
        "cpu",
        "bf16",
        False,
        True,
        4.0,
        True,
    )
    given = {**vars(changes), **vars(training)}
    defaults = {**vars(PresetOptions()), **vars(TrainingOptions())}
    assert all(given[name] != defaults[name] for name in PARAMETERS)


def test_torchrun_passes_every_option_on() -> None:
    """Torchrun refuses an argument that is the beginning of several of its own options."""
    command: Any = typer.main.get_command(app)
    parser = torch.distributed.run.get_args_parser()
    for name in ("train", "compare"):
        for parameter in command.commands[name].params:
            for option in {*parameter.opts, *parameter.secondary_opts} - {"--log"}:
                if option.startswith("--"):
                    arguments = ["-m", "lskd_cli", name, option, "x"]
                    assert parser.parse_args(arguments).training_script_args == arguments[2:]
    with pytest.raises(SystemExit):
        parser.parse_args(["-m", "lskd_cli", "train", "--log", "tensorboard"])
