"""Options that several commands share, and what they mean for a preset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lskd_cli.config import NO_LOGITS, FeatureMethod, Preset, load_method_file, load_preset
from lskd_cli.errors import RequestError

DataDir = Annotated[
    Path,
    typer.Option(
        envvar="LSKD_DATA_DIR",
        help="Folder that holds cifar-100-python (downloaded when absent), imagenet, or train/ and "
        "val/ of an image folder.",
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
Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Another teacher's network: ours, torchvision/NAME or timm/NAME."
    ),
]
DataSet = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="imagefolder: train/CLASS/FILE and val/CLASS/FILE below --data-dir."
    ),
]
SkipBadImages = Annotated[
    bool, typer.Option("--skip-bad-images", help="Leave files out that cannot be decoded.")
]
CheckpointMinutes = Annotated[
    float,
    typer.Option(min=0, help="Minutes between two saved states within an epoch."),
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

Logs = Annotated[
    list[str] | None,
    typer.Option("--log", help="Also log to tensorboard or wandb; repeatable."),
]
TeacherCache = Annotated[
    bool,
    typer.Option(
        "--teacher-cache",
        help="Keep the teacher's logits on disk (CIFAR-100: 1.7 GB) for all later students.",
    ),
]

MethodFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--method-file", metavar="FILE", help="Python file with a method of your own; repeatable."
    ),
]

DATA_DIR = Path("data")
CHECKPOINTS_DIR = Path("checkpoints")
RUNS_DIR = Path("runs")
CHECKPOINT_MINUTES = 2.0  # what a kill can cost


@dataclass(frozen=True)
class Changes:
    """What a command line changes in every preset that it names."""

    settings: Sequence[str] = ()
    epochs: int | None = None
    val_split: float | None = None
    limit_train: int | None = None
    teacher: str | None = None
    dataset: str | None = None
    data_dir: Path = DATA_DIR
    stand: bool = False
    base_temp: float | None = None
    kd_weight: float | None = None


def requested_preset(name: str, changes: Changes, seed: int | None) -> Preset:
    """The preset that a command line asks for.

    Raises:
        RequestError: a key or value is wrong, the method has nothing to standardize, or there is no
            such folder of images.
    """
    overrides = []
    if changes.dataset is not None:
        overrides += _of_folder(load_preset(name), changes.dataset, changes.data_dir)
    if changes.teacher is not None:
        overrides += [f"teacher={changes.teacher}", "published={}"]
    overrides += changes.settings
    if seed is not None:
        overrides.append(f"seed={seed}")
    if changes.val_split is not None:
        overrides.append(f"data.val_split={changes.val_split}")
    if changes.limit_train is not None:
        overrides.append(f"data.limit_train={changes.limit_train}")
    preset = load_preset(name, overrides)
    if changes.stand:
        check_standardizes("--stand", preset)
        overrides.append("stand.enabled=true")
    group = "stand" if changes.stand or preset.standardized else "method"
    if changes.base_temp is not None:
        overrides.append(f"{group}.temperature={changes.base_temp}")
    if changes.kd_weight is not None:
        overrides.append(f"{group}.kd_weight={changes.kd_weight}")
    preset = load_preset(name, overrides)
    if changes.base_temp is not None and not preset.method.reads_logits:
        raise RequestError(f"--base-temp: {NO_LOGITS.format(preset.method.name)}")
    if isinstance(preset.method, FeatureMethod) and preset.method.reads_logits:
        preset = load_preset(name, [*overrides, "published={}"])  # that is of the features alone
    if changes.epochs is not None:
        preset = preset.rescaled(changes.epochs)
    return preset


def check_standardizes(option: str, preset: Preset) -> None:
    """See that a preset has logits to standardize, and settings for them.

    Raises:
        RequestError: it has not; says why.
    """
    if preset.teacher is None:
        raise RequestError(f"{option}: preset {preset.name} has no teacher: nothing to standardize")
    if preset.stand is None:
        raise RequestError(f"{option}: method {preset.method.name} has no standardized form")
    if not preset.can_standardize:
        raise RequestError(f"{option}: {NO_LOGITS.format(preset.method.name)}")


def _of_folder(preset: Preset, dataset: str, data_dir: Path) -> list[str]:
    """What makes a preset one for the images of a folder, whatever it was for."""
    check_one_of("--dataset", dataset, ("imagefolder",))
    from lskd_cli.data import class_names

    overrides = [
        "data.name=imagefolder",
        f"data.num_classes={len(class_names(data_dir / 'train'))}",
        "published={}",
    ]
    if preset.data.augmentation is not None:
        if preset.method.name == "mlkd":  # its strong view is made of crops alone
            overrides += ["data.augmentation.policy=null", "data.augmentation.erasing=0.0"]
        return [*overrides, "data.augmentation.pipeline=workers"]
    crops = "data.augmentation={interpolation: bilinear, pipeline: workers}"
    return [*overrides, "data.padding=0", crops]


def load_method_files(paths: Sequence[Path] | None) -> None:
    """Make the methods of files known to presets.

    Raises:
        RequestError: a file is not there, fails, or brings no method.
    """
    for path in paths or ():
        load_method_file(path)


def listed(option: str, text: str) -> list[int]:
    """The whole numbers in a list, as 0,1,2.

    Raises:
        RequestError: it is not one.
    """
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise RequestError(f"{option} {text}: expected whole numbers, as 0,1,2") from None


def shard_of(presets: Sequence[Preset], shard: str) -> list[Preset]:
    """Every N-th of the presets, from the I-th on.

    Raises:
        RequestError: the shard is not I/N, with I from 1 to N.
    """
    number, _, of = shard.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise RequestError(f"--shard {shard}: expected I/N, as 1/4, with I from 1 to N")
    return list(presets)[int(number) - 1 :: int(of)]


def check_one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """See that the value is allowed.

    Raises:
        RequestError: it is not; names what is.
    """
    if value not in allowed:
        raise RequestError(f"{option} {value}: expected {', '.join(allowed)}")
