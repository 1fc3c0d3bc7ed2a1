"""What follows a search: preset files with the best settings, and the command that tests them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lskd_cli.config import Preset, load_preset, to_yaml
from lskd_cli.config.search_space import FormSpace
from lskd_cli.config.tuned_presets import tuned_presets
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import write_text
from lskd_cli.search_info import SearchInfo

_NUM_SEEDS = 5  # of the runs that test the best settings


def write_tuned_presets(
    folder: Path,
    info: SearchInfo,
    spaces: Sequence[FormSpace],
    bases: Mapping[str, Preset],
    epochs: int | None,
    words: Sequence[str],
) -> list[str]:
    """Write presets with the best settings.

    Args:
        folder: folder of the search.
        info: the search.
        spaces: search space of each form.
        bases: preset of each method without what the search changes; the first one is tested too.
        epochs: ``--epochs`` of the search.
        words: further options of the training.

    Returns:
        Lines for the user: the files, and the commands that test them.

    Raises:
        RunError: a file cannot be written.
    """
    found = {form: info.best(form) for form in info.dimensions}
    best = {form: trial.settings for form, trial in found.items() if trial is not None}
    if not best:
        return ["no trial is complete, so there are no best settings"]
    files = []
    for preset in tuned_presets(spaces, bases, best):
        path = folder / f"{preset.run_name}.yaml"
        write_text(path, to_yaml(preset))
        files.append(str(path))
    base = next(iter(bases.values()))
    name = base.name
    if not _is_builtin(base):
        name = str(folder / f"{base.name}.yaml")
        write_text(Path(name), to_yaml(base))
    first = max(info.seeds) + 1
    rest = ["--seeds", ",".join(map(str, range(first, first + _NUM_SEEDS)))]
    rest += [] if epochs is None else ["--epochs", str(epochs)]
    rest += words
    train = ["lskd", "compare", "--train"]
    if len(files) == 1:
        commands = [[*train, "--preset", files[0], "--preset", name, *rest]]
    else:
        commands = [["lskd", "train", *files, *rest], [*train, "--preset", name, *rest]]
    lines = [f"best settings: {path}" for path in files]
    return [*lines, "test them and those of the preset once, on the test images:"] + [
        f"  {shlex.join(command)}" for command in commands
    ]


def _is_builtin(preset: Preset) -> bool:
    """Whether a preset is loaded by its name, without changes."""
    try:
        return load_preset(preset.name).model_dump() == preset.model_dump()
    except RequestError:
        return False
