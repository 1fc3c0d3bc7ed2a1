"""Options that several commands share, and what they mean for a preset."""

from pathlib import Path
from typing import Annotated

import typer

from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError

DataDir = Annotated[
    Path,
    typer.Option(
        envvar="LSKD_DATA_DIR",
        help="Folder that holds cifar-100-python; downloaded to it when absent.",
    ),
]
CheckpointsDir = Annotated[Path, typer.Option(help="Folder of teachers, NAME.safetensors each.")]
RunsDir = Annotated[Path, typer.Option(help="Folder of the runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, fp32, tf32 (CUDA) or bf16; auto takes bf16 where the hardware has it."
    ),
]
Graphs = Annotated[
    bool | None,
    typer.Option(
        "--graphs/--no-graphs",
        help="Record steps as CUDA graphs and replay them; on by default on CUDA.",
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile/--no-compile", help="Compile the networks first: a minute, then faster steps."
    ),
]
TeacherCheckpoint = Annotated[
    Path | None,
    typer.Option(help="Teacher's weights: .safetensors, or a .pth read without running it."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key: --set method.temperature=3."),
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Length of training; the learning rate drops at the same shares."),
]
ValSplit = Annotated[
    float | None,
    typer.Option(help="Share of the training images held out to choose the best epoch."),
]
LimitTrain = Annotated[
    int | None,
    typer.Option(
        min=1, help="Only so many training images, classes in proportion: for quick looks."
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over; an old run is moved aside.")]
Accuracy = Annotated[
    str, typer.Option(help="best: of the best epoch, as published; last: of the last epoch.")
]

TeacherCache = Annotated[
    bool,
    typer.Option(
        "--teacher-cache",
        help="Keep the teacher's logits on disk (CIFAR-100: 1.7 GB) for all later students.",
    ),
]

DATA_DIR = Path("data")
CHECKPOINTS_DIR = Path("checkpoints")
RUNS_DIR = Path("runs")


def requested_preset(
    name: str,
    settings: list[str] | None,
    seed: int | None,
    epochs: int | None,
    val_split: float | None,
    limit_train: int | None,
    stand: bool = False,
    base_temp: float | None = None,
    kd_weight: float | None = None,
) -> Preset:
    """The preset that a command line asks for.

    Raises:
        RequestError: a key or value is wrong, or the method has nothing to standardize.
    """
    overrides = list(settings or [])
    if seed is not None:
        overrides.append(f"seed={seed}")
    if val_split is not None:
        overrides.append(f"data.val_split={val_split}")
    if limit_train is not None:
        overrides.append(f"data.limit_train={limit_train}")
    preset = load_preset(name, overrides)
    if stand and preset.stand is None:
        lacks = "reads no logits of its" if preset.teacher else "has no"
        raise RequestError(f"--stand: preset {name} {lacks} teacher: nothing to standardize")
    if stand:
        overrides.append("stand.enabled=true")
    group = "stand" if stand or preset.standardized else "method"
    if base_temp is not None:
        overrides.append(f"{group}.temperature={base_temp}")
    if kd_weight is not None:
        overrides.append(f"{group}.kd_weight={kd_weight}")
    preset = load_preset(name, overrides)
    if epochs is not None:
        preset = preset.model_copy(update={"schedule": preset.schedule.rescaled(epochs)})
    return preset


def check_one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """See that the value is allowed.

    Raises:
        RequestError: it is not; names what is.
    """
    if value not in allowed:
        raise RequestError(f"{option} {value}: expected {', '.join(allowed)}")
