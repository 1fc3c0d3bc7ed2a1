"""The options that ``train`` and ``compare --train`` share."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from lskd_cli.cli import options
from lskd_cli.config import MAX_EPOCHS


class LoggerName(str, Enum):
    """Loggers of metrics."""

    tensorboard = "tensorboard"
    wandb = "wandb"


PrecisionName = Literal["auto", "fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class TrainingArguments:
    """Values of the shared options, one field for each."""

    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the preset; repeatable."),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_EPOCHS, help="Number of epochs; rate drops and warm-ups are rescaled."
        ),
    ] = None
    val_split: Annotated[
        float | None,
        typer.Option(help="Fraction of the training images held out to select the best epoch."),
    ] = None
    limit_train: Annotated[
        int | None,
        typer.Option(min=1, help="Train on a stratified subset of N images."),
    ] = None
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Replace the teacher network: a built-in one, torchvision/NAME or timm/NAME.",
        ),
    ] = None
    student: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Replace the student network.")
    ] = None
    init: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|pretrained",
            help="Weights from which the student starts: a weight file, a run folder, or those of "
            "torchvision or timm. A classifier of another number of classes is replaced.",
        ),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="imagefolder|csv|npz|tar|hfds/NAME",
            help="Train on custom images in --data-dir: train/CLASS/FILE and val/CLASS/FILE; "
            "train.csv and val.csv with the columns path and label; a NumPy archive as those of "
            "MedMNIST; train.tar and val.tar; or a data set of the Hugging Face Hub.",
        ),
    ] = None
    teacher_checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH|pretrained",
            help="Weights of the teacher: a run folder, a .safetensors file, a .pth file, which is "
            "loaded with weights_only=True, or those of torchvision or timm.",
        ),
    ] = None
    data_dir: options.DataDir = options.DATA_DIR
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR
    device: options.Device = "auto"
    precision: Annotated[
        PrecisionName,
        typer.Option(help="auto uses bf16 where natively supported; tf32 requires CUDA."),
    ] = "auto"
    graphs: Annotated[
        bool | None,
        typer.Option(
            "--graphs/--no-graphs",
            help="Capture training steps as CUDA graphs; the default on CUDA.",
        ),
    ] = None
    compile_: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Compile the networks with torch.compile."),
    ] = False
    teacher_cache: Annotated[
        bool,
        typer.Option(
            "--teacher-cache",
            help="Cache the teacher's logits on disk (CIFAR-100: 1.7 GB) for all later students.",
        ),
    ] = False
    skip_bad_images: options.SkipBadImages = False
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between two saved states within an epoch.")
    ] = 2.0
    process_timeout: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            max=1440,
            metavar="MINUTES",
            help="Under torchrun: end the run if a process does not answer for this long; default "
            "10.",
        ),
    ] = None
    logs: Annotated[
        list[LoggerName] | None,
        typer.Option("--log", help="Also log metrics to this tool; repeatable."),
    ] = None
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Restart; a previous run is moved to seedN.oldM.")
    ] = False


PARAMETERS = tuple(item.name for item in fields(TrainingArguments))


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``training`` of a command by one parameter for each shared option."""
    hints = get_type_hints(TrainingArguments, include_extras=True)
    shared = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=item.default,
            annotation=hints[item.name],
        )
        for item in fields(TrainingArguments)
    ]
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "training":
            parameters += shared
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def wrapper(**values: Any) -> None:
        training = TrainingArguments(**{name: values.pop(name) for name in PARAMETERS})
        command(**values, training=training)

    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper
