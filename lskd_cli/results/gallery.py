"""The figures of a report."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lskd_cli.errors import RunError
from lskd_cli.results.figures.curves import accuracy_curves
from lskd_cli.results.figures.style import FORMATS, save
from lskd_cli.results.runs import Run
from lskd_cli.results.settings import by_setting


@dataclass
class Shown:
    """A figure with its words.

    Attributes:
        name: of its files, without suffix.
    """

    name: str
    title: str
    figure: Figure


def curves(runs: Sequence[Run]) -> list[Shown]:
    """Accuracy by epoch of every setting among runs that have history."""
    shown: list[Shown] = []
    for setting in by_setting(runs):
        preset = setting[-1].preset
        pair = [preset.teacher, preset.student] if preset.teacher else [preset.student]
        words = f"{' → '.join(pair)}, {preset.data.name}, {preset.schedule.epochs} epochs"
        parts = ["curves", *pair, preset.data.name, str(preset.schedule.epochs)]
        name = re.sub(r"[^\w.-]", "-", "-".join(parts))
        # Settings may differ in more than their names tell.
        if same := sum(one.title == words for one in shown):
            name += f"-{same + 1}"
        shown.append(Shown(name, words, accuracy_curves(setting)))
    return shown


def write(figures: Sequence[Shown], folder: Path) -> list[Path]:
    """Write figures as PDF, SVG and PNG.

    Raises:
        RunError: a file cannot be written.
    """
    paths = [folder / f"{one.name}.{form}" for one in figures for form in FORMATS]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, one in zip(paths, (one for one in figures for _ in FORMATS), strict=True):
            save(one.figure, path)
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    return paths
