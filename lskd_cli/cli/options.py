"""Options that several commands share, and checks of options."""

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from lskd_cli.config import load_method_file
from lskd_cli.config.types import MAX_SEED
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file
from lskd_cli.results.runs import EpochName
from lskd_cli.run_info import read_run_info
from lskd_cli.run_paths import WeightsName

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the preset; repeatable."),
]
DataDir = Annotated[
    Path,
    typer.Option(
        envvar="LSKD_DATA_DIR",
        help="Folder that contains cifar-100-python (downloaded if it is absent), imagenet/, or "
        "custom images (see train --dataset).",
    ),
]
CheckpointsDir = Annotated[
    Path, typer.Option(help="Folder of the teachers, stored as NAME.safetensors.")
]
RunsDir = Annotated[Path, typer.Option(help="Folder of the runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
SkipBadImages = Annotated[
    bool, typer.Option("--skip-bad-images", help="Leave out images that cannot be decoded.")
]
Accuracy = Annotated[
    EpochName,
    typer.Option(help="Accuracy of the best epoch, as in the papers, or of the last."),
]
MethodFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--method-file", metavar="FILE", help="Python file with your own method; repeatable."
    ),
]
ModelFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--model-file", metavar="FILE", help="Python file with your own network; repeatable."
    ),
]
Weights = Annotated[
    WeightsName,
    typer.Option(
        help="Weights of a run: of its last or best epoch, or their exponential moving average."
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Class names, one per line, instead of the stored ones."),
]

_MAX_CLASS_NAMES = 1 << 24  # characters

DATA_DIR = Path("data")
CHECKPOINTS_DIR = Path("checkpoints")
RUNS_DIR = Path("runs")


def command_help(command: Callable[..., None]) -> str:
    """The help of a command: its docstring, whose lines are joined except those of examples."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(text if "[bold]" in text else text.replace("\n", " ") for text in paragraphs)


def load_method_files(paths: Sequence[Path] | None) -> None:
    """Register the methods in Python files.

    Raises:
        RequestError: a file does not exist, fails, or registers no method.
    """
    for path in paths or ():
        load_method_file(path)


def load_model_files(paths: Sequence[Path] | None) -> None:
    """Register the networks in Python files.

    Raises:
        RequestError: a file does not exist, fails, or registers no network.
    """
    if paths:
        from lskd_cli.models import load_model_file

        for path in paths:
            load_model_file(path)


def read_class_names(path: Path | None) -> list[str] | None:
    """The lines of a file with class names; None without a file.

    Raises:
        RequestError: the file cannot be read.
    """
    if path is None:
        return None
    try:
        with regular_file(path).open(encoding="utf-8-sig") as file:
            return file.read(_MAX_CLASS_NAMES).rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"--class-names {path}: cannot be read: {error}") from None


def recorded_data_dir(context: typer.Context, run: Path, data_dir: Path) -> Path:
    """The folder of the images of a run, unless the user names another one.

    Raises:
        RequestError: the run.json of the run is corrupt.
    """
    source = context.get_parameter_source("data_dir")
    if source is None or source.name != "DEFAULT":
        return data_dir
    info = read_run_info(run if run.is_dir() else run.parent)
    return data_dir if info is None or info.data_dir is None else Path(info.data_dir)


def parse_ints(option: str, text: str) -> list[int]:
    """The integers in a comma-separated list.

    Raises:
        RequestError: the text is not such a list.
    """
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise RequestError(f"{option} {text}: expected integers, e.g. 0,1,2") from None


def check_seed(option: str, seed: int) -> None:
    """Check that a number can be the seed of a preset.

    Raises:
        RequestError: it is negative or too large.
    """
    if not 0 <= seed < MAX_SEED:
        raise RequestError(f"{option} {seed}: must be from 0 to {MAX_SEED - 1}")


def given_options(context: typer.Context, parameters: Collection[str]) -> list[str]:
    """The options among some parameters of a command that the user typed, in the user's spelling.

    Args:
        context: context of the command.
        parameters: names of parameters of the command's function.
    """
    typed = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name) if name in parameters else None
        if source is not None and source.name == "COMMANDLINE":
            options = [option for option in parameter.opts if option.startswith("--")]
            typed.append(options[0] if options else parameter.metavar or name)
    return typed


def refuse_options(context: typer.Context, parameters: Collection[str], reason: str) -> None:
    """Refuse options that have no effect in the requested use of a command.

    Args:
        context: context of the command.
        parameters: names of parameters of the command's function that have no effect.
        reason: when they have one, for example ``only valid with --train``.

    Raises:
        RequestError: the user typed one of them.
    """
    typed = given_options(context, parameters)
    if typed:
        raise RequestError(f"{', '.join(typed)}: {reason}")
