"""The files of ``presets/``, and the built-in methods that they describe."""

from functools import cache
from pathlib import Path
from typing import Any

from lskd_cli.config.yaml_io import read_mapping

_PACKAGE = Path(__file__).parents[2]
# The folder is next to the package in a checkout and inside the package in a wheel.
PRESETS_DIR = next(p for p in (_PACKAGE / "presets", _PACKAGE.parent / "presets") if p.is_dir())

NO_METHOD = "none"  # cross entropy with the labels: a student baseline, or a teacher
_BASELINE_TITLE = "baseline"


@cache
def read_preset_file(folder: str, name: str) -> dict[str, Any]:
    """Content of ``presets/FOLDER/NAME.yaml``.

    Raises:
        RequestError: the file cannot be read.
    """
    return read_mapping(PRESETS_DIR / folder / f"{name}.yaml")


@cache
def builtin_methods() -> tuple[str, ...]:
    """Names of the built-in distillation methods, sorted by year of publication, then by name."""
    names = sorted(path.stem for path in (PRESETS_DIR / "methods").glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: int(read_preset_file("methods", name)["year"])))


def builtin_module(name: str) -> str:
    """Module of ``lskd_cli.distillers`` that defines a built-in method; two may share one."""
    return name if name == NO_METHOD else read_preset_file("methods", name).get("module", name)


def builtin_title(name: str) -> str | None:
    """Label of a built-in method in tables; None for other methods."""
    if name == NO_METHOD:
        return _BASELINE_TITLE
    if name not in builtin_methods():
        return None
    return str(read_preset_file("methods", name)["title"])
