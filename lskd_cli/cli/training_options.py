"""The options that ``train`` and ``compare --train`` share."""

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import fields
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from lskd_cli.cli import completion, options
from lskd_cli.config import MAX_EPOCHS, PrecisionName, PresetOptions, TrainingOptions


class LoggerName(str, Enum):
    """Loggers of metrics."""

    tensorboard = "tensorboard"
    wandb = "wandb"


Loggers = Annotated[
    list[LoggerName] | None,
    typer.Option(
        "--logger",
        "--log",
        metavar="TOOL",
        help="Also log metrics with tensorboard or wandb; repeatable. torchrun refuses --log.",
    ),
]

# The option of each field of ``PresetOptions`` and ``TrainingOptions`` that both commands have.
_OPTIONS: dict[str, Any] = {
    "settings": options.Settings,
    "lr": Annotated[float | None, typer.Option(help="Initial learning rate.")],
    "batch_size": Annotated[
        int | None, typer.Option(help="Images per step, summed over all processes.")
    ],
    "weight_decay": Annotated[float | None, typer.Option(help="Weight decay of the optimizer.")],
    "epochs": Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_EPOCHS,
            help="Number of epochs; rate drops and warm-ups are rescaled.",
        ),
    ],
    "val_split": Annotated[
        float | None,
        typer.Option(help="Fraction of the training images held out to select the best epoch."),
    ],
    "limit_train": Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Train on a stratified subset of N images."),
    ],
    "teacher": Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            autocompletion=completion.models,
            help="Replace the teacher network: a built-in one, torchvision/NAME or timm/NAME; "
            "repeat it for several teachers.",
        ),
    ],
    "student": Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            autocompletion=completion.models,
            help="Replace the student network.",
        ),
    ],
    "init": Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Weights from which the student starts: a weight file, a run folder, or those of "
            "torchvision, timm or lskd (resnet56) with 'pretrained'. A classifier of another "
            "number of classes is replaced.",
        ),
    ],
    "dataset": Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            autocompletion=completion.custom_datasets,
            help="Train on custom images in --data-dir: imagefolder (train/CLASS/FILE and "
            "val/CLASS/FILE), csv (train.csv and val.csv with the columns path and label), npz (a "
            "NumPy archive in MedMNIST format), tar (train.tar and val.tar), or hfds/NAME (a "
            "data set of the Hugging Face Hub).",
        ),
    ],
    "teacher_checkpoint": Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Weights of the teacher (of several: once for each, in order): a run folder, a "
            ".safetensors file, a .pth file, which is loaded with weights_only=True, or those of "
            "torchvision, timm or lskd (resnet56) with 'pretrained'.",
        ),
    ],
    "data_dir": options.DataDir,
    "checkpoints_dir": options.CheckpointsDir,
    "runs_dir": options.RunsDir,
    "device": options.Device,
    "precision": Annotated[
        PrecisionName,
        typer.Option(
            metavar="NAME",
            help="fp32, tf32 (CUDA only), bf16, or auto, which is bf16 where it is native.",
        ),
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
        float,
        typer.Option(
            metavar="MINUTES", min=0, help="Time between two saved states within an epoch."
        ),
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

# Headings of the help, and their options in ``train`` and ``compare``.
_PANELS = {
    "Run": (
        "name", "presets", "preset", "settings", "epochs", "lr", "batch_size", "weight_decay",
        "seed", "seeds", "dry_run", "fresh", "checkpoint_minutes",
    ),
    "Data": ("dataset", "data_dir", "val_split", "limit_train", "skip_bad_images"),
    "Networks": (
        "teacher", "student", "init", "teacher_checkpoint", "checkpoints_dir", "model_files",
    ),
    "Method": ("stand", "base_temp", "kd_weight", "method_files"),
    "Speed": ("device", "precision", "graphs", "compiled", "teacher_cache"),
    "Search": ("space", "trials", "sampler", "pruner", "parallel", "storage"),
    "Several processes": ("shard", "process_timeout"),
    "Output": ("runs_dir", "logs", "as_json"),
}  # fmt: skip
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}
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
            annotation=_in_panel(annotation, name),
        )
        for name, annotation in _OPTIONS.items()
    ]
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "training":
            parameters += shared
        elif parameter.name != "changes":
            annotation = _in_panel(parameter.annotation, parameter.name)
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=annotation))

    @wraps(command)
    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in PARAMETERS}
        changes, training = (
            kind(**{item.name: given[item.name] for item in fields(kind) if item.name in given})
            for kind in (PresetOptions, TrainingOptions)
        )
        command(**values, changes=changes, training=training)

    # A panel of the help is where its first option is.
    order = list(_PANELS)
    parameters.sort(key=lambda item: order.index(_PANEL_OF.get(item.name, order[0])))
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper


def _in_panel(annotation: Any, name: str) -> Any:
    """The annotation of an option, under the heading of its panel in the help."""
    if name not in _PANEL_OF:
        return annotation
    kind, option = get_args(annotation)
    option = copy(option)
    option.rich_help_panel = _PANEL_OF[name]
    return Annotated[kind, option]
