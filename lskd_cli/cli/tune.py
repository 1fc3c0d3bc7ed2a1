"""The command ``lskd tune``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from lskd_cli.cli import completion, options
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.cli.terminal.rich_tables import as_rich_table
from lskd_cli.cli.training_options import with_training_options
from lskd_cli.config import (
    Preset,
    PresetOptions,
    TrainingOptions,
    list_pairs,
    method_names,
    requested_preset,
)
from lskd_cli.config.requests import check_model
from lskd_cli.config.search_space import METHOD, Dimension, FormSpace, search_spaces
from lskd_cli.config.tuned_presets import TUNED
from lskd_cli.engine.devices.dist_env import is_launched
from lskd_cli.errors import RequestError
from lskd_cli.results.tables.search_table import make_search_table
from lskd_cli.search_info import PrunerName, SamplerName

_VAL_SPLIT = 0.1  # of the training images, unless the preset or the data set holds out some
_NUM_TRIALS = 20


@with_training_options
def tune(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            autocompletion=completion.presets,
            help="Name or YAML file of a preset.",
            show_default=False,
        ),
    ] = None,
    *,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            autocompletion=completion.presets,
            help="Name or YAML file of a preset.",
        ),
    ] = None,
    changes: PresetOptions,
    training: TrainingOptions,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW:HIGH",
            help="Search a key of the preset: a range KEY=LOW:HIGH or KEY=LOW:HIGH:log, a list "
            "KEY=V1,V2,..., or methods with method=kd,dkd; repeatable. By default the temperatures "
            "and loss weights, plain and standardized.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=100_000,
            help="Total number of plain and standardized trials; by default 20, or all points of "
            "a grid.",
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Train each trial with these seeds, e.g. 0,1; the mean ranks it.")
    ] = "0",
    sampler: Annotated[
        SamplerName,
        typer.Option(help="Optuna sampler that proposes the settings."),
    ] = "tpe",
    pruner: Annotated[
        PrunerName,
        typer.Option(help="Optuna pruner that stops unpromising trials."),
    ] = "hyperband",
    parallel: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1000,
            help="Number of trials trained together; by default a quarter, if memory allows.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database that several machines share, e.g. sqlite:///FILE or "
            "postgresql://HOST/NAME; by default a journal in the folder of the search.",
        ),
    ] = None,
    method_files: options.MethodFiles = None,
    model_files: options.ModelFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the search as JSON.")] = False,
) -> None:
    """Search settings of a preset on held-out training images, plain and standardized.

    Trials are students of joint runs: they share the batches and the teacher's outputs. The test
    images are not used. The same command resumes a search, and joins it if it still runs.

    Examples:
        [bold]lskd tune kd-digits100[/]
        [bold]lskd tune kd-r56-r20 --epochs 40 --space stand.kd_weight=1:30:log --trials 24[/]
    """
    names = [text for text in (name, preset) if text is not None]
    if len(names) != 1:
        raise RequestError("name one preset; 'lskd presets list' shows all presets")
    if is_launched():
        raise RequestError(
            "lskd tune: not supported under torchrun; start it once for each device, all with the "
            "same --runs-dir"
        )
    if training.fresh and storage is not None:
        raise RequestError("--fresh: not valid with --storage; use --set name=NEW")
    options.load_method_files(method_files)
    options.load_model_files(model_files)
    seed_numbers = options.parse_ints("--seeds", seeds)
    if len(set(seed_numbers)) < len(seed_numbers):
        raise RequestError(f"--seeds {seeds}: a seed is given twice")
    for seed in seed_numbers:
        options.check_seed("--seeds", seed)
    texts = list(space or ())
    # Without what the search changes: its trials are shorter, and hold images out.
    bases = _bases(names[0], texts, replace(changes, epochs=None, val_split=None), training)
    searched = _bases(names[0], texts, _with_val_split(changes, bases), training)
    spaces = search_spaces(searched, [text for text in texts if not _is_method(text)])
    _check_networks(spaces)
    for base in bases.values():
        base.name_with(TUNED)  # refused now and not after the search
    if trials is not None and trials < len(spaces):
        raise RequestError(
            f"--trials {trials}: at least {len(spaces)}, one for each method, plain and "
            "standardized"
        )
    _check_installed()
    from lskd_cli.cli.run_search import run_search, search_folder
    from lskd_cli.cli.tuned_command import write_tuned_presets
    from lskd_cli.engine.search.study import SearchOptions

    count = trials if trials is not None or sampler == "grid" else _NUM_TRIALS
    search = SearchOptions(count, seed_numbers, sampler, pruner, storage)
    result = run_search(spaces, training, search, parallel)
    folder = search_folder(result.name, training)
    lines = write_tuned_presets(
        folder, result, spaces, bases, changes.epochs, _given_words(context)
    )
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    out.print(as_rich_table(make_search_table(result), out.width))
    for line in lines:
        info(line)


def _bases(
    name: str, texts: Sequence[str], changes: PresetOptions, training: TrainingOptions
) -> dict[str, Preset]:
    """The preset of each method that is searched.

    Raises:
        RequestError: there is no such preset or method, or a preset has no teacher.
    """
    selections = [Dimension.parse(text) for text in texts if _is_method(text)]
    if len(selections) > 1:
        raise RequestError("--space method: given twice")
    names = [name]
    if selections:
        pair = name.partition("-")[2]
        if pair not in list_pairs():
            raise RequestError(f"--space method: preset {name} is not METHOD-PAIR")
        for method in selections[0].values:
            if method not in method_names():
                known = ", ".join(method_names())
                raise RequestError(f"--space method: {method} is unknown; choose from {known}")
        names = [f"{method}-{pair}" for method in selections[0].values]
    found = [requested_preset(one, changes, training.data_dir) for one in names]
    for preset in found:
        if preset.teacher is None:
            raise RequestError(f"preset {preset.name} has no teacher; tune a preset with a method")
    return {
        preset.method.name: preset.with_stand(False) if preset.stand else preset for preset in found
    }


def _is_method(text: str) -> bool:
    return text.partition("=")[0].strip() == METHOD


def _with_val_split(changes: PresetOptions, bases: Mapping[str, Preset]) -> PresetOptions:
    """Hold out a part of the training images, unless that is so or the archive has some."""
    base = next(iter(bases.values()))
    if base.data.val_split > 0 or base.data.name == "npz" or changes.val_split is not None:
        return changes
    return replace(changes, val_split=_VAL_SPLIT)


def _check_networks(spaces: Sequence[FormSpace]) -> None:
    for dimension in (item for space in spaces for item in space.all_dimensions()):
        for value in dimension.values if dimension.key in ("teacher", "student") else ():
            check_model(f"--space {dimension.key}", str(value))


def _check_installed() -> None:
    try:
        import optuna  # noqa: F401
        import psutil  # noqa: F401
    except ImportError as error:
        raise RequestError(
            f"lskd tune: {error.name} is not installed; run pip install optuna cmaes psutil"
        ) from None


def _given_words(context: typer.Context) -> list[str]:
    """Options of folders and devices that the user typed, for commands that follow."""
    repeated = (
        "teacher_checkpoint", "data_dir", "checkpoints_dir", "runs_dir", "device", "precision",
        "teacher_cache", "skip_bad_images", "method_files", "model_files",
    )  # fmt: skip
    words: list[str] = []
    for parameter in context.command.params:
        given = options.given_options(context, [parameter.name or ""])
        if parameter.name in repeated and given:
            value = context.params[parameter.name]
            values = value if isinstance(value, (list, tuple)) else [value]
            for item in values:
                words += given if isinstance(item, bool) else [*given, str(item)]
    return words
