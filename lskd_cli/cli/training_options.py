"""The options that ``train`` and ``compare --train`` share."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from lskd_cli.cli import options
from lskd_cli.config import MAX_EPOCHS, PrecisionName, PresetOptions, TrainingOptions


class LoggerName(str, Enum):
    """Loggers of metrics."""

    tensorboard = "tensorboard"
    wandb = "wandb"


Loggers = Annotated[
    list[LoggerName] | None,
    typer.Option("--log", help="Also log metrics to this tool; repeatable."),
]

# The option of each field of ``PresetOptions`` and ``TrainingOptions`` that both commands have.
_OPTIONS: dict[str, Any] = {
    "settings": Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the preset; repeatable."),
    ],
    "epochs": Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_EPOCHS, help="Number of epochs; rate drops and warm-ups are rescaled."
        ),
    ],
    "val_split": Annotated[
        float | None,
        typer.Option(help="Fraction of the training images held out to select the best epoch."),
    ],
    "limit_train": Annotated[
        int | None,
        typer.Option(min=1, help="Train on a stratified subset of N images."),
    ],
    "teacher": Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Replace the teacher network: a built-in one, torchvision/NAME or timm/NAME.",
        ),
    ],
    "student": Annotated[
        str | None, typer.Option(metavar="MODEL", help="Replace the student network.")
    ],
    "init": Annotated[
        str | None,
        typer.Option(
            metavar="FILE|pretrained",
            help="Weights from which the student starts: a weight file, a run folder, or those of "
            "torchvision or timm. A classifier of another number of classes is replaced.",
        ),
    ],
    "dataset": Annotated[
        str | None,
        typer.Option(
            metavar="imagefolder|csv|npz|tar|hfds/NAME",
            help="Train on custom images in --data-dir: train/CLASS/FILE and val/CLASS/FILE; "
            "train.csv and val.csv with the columns path and label; a NumPy archive as those of "
            "MedMNIST; train.tar and val.tar; or a data set of the Hugging Face Hub.",
        ),
    ],
    "teacher_checkpoint": Annotated[
        Path | None,
        typer.Option(
            metavar="PATH|pretrained",
            help="Weights of the teacher: a run folder, a .safetensors file, a .pth file, which is "
            "loaded with weights_only=True, or those of torchvision or timm.",
        ),
    ],
    "data_dir": options.DataDir,
    "checkpoints_dir": options.CheckpointsDir,
    "runs_dir": options.RunsDir,
    "device": options.Device,
    "precision": Annotated[
        PrecisionName,
        typer.Option(help="auto uses bf16 where natively supported; tf32 requires CUDA."),
    ],
    "graphs": Annotated[
        bool | None,
        typer.Option(
            "--graphs/--no-graphs",
            help="Capture training steps as CUDA graphs; the default on CUDA.",
        ),
    ],
    "compiled": Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Compile the networks with torch.compile."),
    ],
    "teacher_cache": Annotated[
        bool,
        typer.Option(
            "--teacher-cache",
            help="Cache the teacher's logits on disk (CIFAR-100: 1.7 GB) for all later students.",
        ),
    ],
    "skip_bad_images": options.SkipBadImages,
    "checkpoint_minutes": Annotated[
        float, typer.Option(min=0, help="Minutes between two saved states within an epoch.")
    ],
    "process_timeout": Annotated[
        float | None,
        typer.Option(
            min=0.05,
            max=1440,
            metavar="MINUTES",
            help="Under torchrun: end the run if a process does not answer for this long; default "
            "10.",
        ),
    ],
    "fresh": Annotated[
        bool, typer.Option("--fresh", help="Restart; a previous run is moved to seedN.oldM.")
    ],
}

_FIELDS = {item.name: item for kind in (PresetOptions, TrainingOptions) for item in fields(kind)}
PARAMETERS = tuple(_OPTIONS)


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace two parameters of a command by one parameter for each of their fields.

    These are ``changes``, a ``PresetOptions``, and ``training``, a ``TrainingOptions``. The
    defaults are those of the fields.
    """
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_FIELDS[name].default,
            annotation=annotation,
        )
        for name, annotation in _OPTIONS.items()
    ]
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "training":
            parameters += shared
        elif parameter.name != "changes":
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in PARAMETERS}
        changes, training = (
            kind(**{item.name: given[item.name] for item in fields(kind) if item.name in given})
            for kind in (PresetOptions, TrainingOptions)
        )
        command(**values, changes=changes, training=training)

    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper
