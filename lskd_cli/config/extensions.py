"""Methods that are not shipped: of a file of the user's, or of an installed package.

Both register what they define when they are imported. A package names its methods as entry points
of the group ``lskd.methods``: the method's name, and the module that registers it.
"""

import importlib.util
import re
import sys
import traceback
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from lskd_cli.config.method import METHODS, MethodSettings, add_methods
from lskd_cli.errors import RequestError

GROUP = "lskd.methods"
_NAME = re.compile("[a-z][a-z0-9_]*")
# What a method's column in the metrics, or the folder of its runs, would be taken for.
_RESERVED = ("ce", "loss", "top1", "teacher", "alone")
_layers: dict[str, dict[str, Any]] = {}  # what a file in presets/methods would say
_files: set[Path] = set()


def extend(settings: type[MethodSettings], stand: dict[str, float] | None, file: Path) -> None:
    """Let presets name a method that is not shipped; once more replaces it.

    Args:
        settings: its hyper-parameters; ``name`` is a literal, all others have defaults.
        stand: the base temperature and the kd_weight of standardization, and what else it changes
            in them; None if there is nothing to standardize.
        file: where the method is defined, for messages of its faults.

    Raises:
        RequestError: the name is not one that a preset may start with, or is taken; a
            hyper-parameter has no default; or ``stand`` is not of this method.
    """
    name = settings.named()
    if not _NAME.fullmatch(name):
        raise RequestError(f"method {name!r}: a name has lower-case letters, digits and _ alone")
    if name in _RESERVED or (name in METHODS and name not in _layers):
        raise RequestError(f"method {name}: this name is taken; choose another")
    open_ends = [key for key, field in settings.model_fields.items() if field.is_required()]
    if open_ends not in ([], ["name"]):
        raise RequestError(f"method {name}: {', '.join(open_ends)}: without a default value")
    if stand is not None:
        needed = ("temperature", "kd_weight")
        missing = [key for key in needed if not (key in stand and key in settings.model_fields)]
        if missing:
            raise RequestError(f"method {name}: to be standardized, it and stand need {missing[0]}")
    add_methods(settings)
    _files.add(file.resolve())
    _layers[name] = {"method": {"name": name}} | ({"stand": stand} if stand else {})


def extension_names() -> list[str]:
    """Methods that are not shipped."""
    return sorted({*_layers, *_installed()})


def layer_of(name: object) -> dict[str, Any] | None:
    """What a method that is not shipped contributes to a preset; None of any other name.

    Raises:
        RequestError: the package that defines it fails, or does not.
    """
    if not isinstance(name, str):
        return None
    if name in _installed() and name not in _layers:
        entry = _installed()[name]
        try:
            entry.load()
        except Exception as error:
            raise RequestError(f"method {name}, of {entry.value}: {_told(error)}") from error
        if name not in _layers:
            raise RequestError(f"method {name}: {entry.value} registers no method of this name")
    return _layers.get(name)


def load_method_file(path: Path) -> None:
    """Run a Python file that registers methods.

    Raises:
        RequestError: there is no such file, it fails (names its line), or registers nothing.
    """
    file = path.resolve()
    spec = importlib.util.spec_from_file_location(f"lskd_method_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise RequestError(f"--method-file {path}: no Python file there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = dict(METHODS)
    _files.add(file)
    try:
        spec.loader.exec_module(module)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise RequestError(fault(error) or f"{path}: {_told(error)}") from error
    if all(before.get(name) is kind for name, kind in METHODS.items()):
        raise RequestError(f"{path}: registers no method; decorate one with @register(SETTINGS)")


def fault(error: BaseException) -> str | None:
    """An error of a method file, with the file and its line; None of any other error."""
    places = [
        (Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno))
    own = [f"{path}: line {line}: " for path, line in places if path in _files]
    return own[-1] + _told(error) if own else None


@cache
def _installed() -> dict[str, EntryPoint]:
    """Entry points by name; those that cannot be a method's are passed over."""
    shipped = METHODS.keys() - _layers.keys()
    return {
        entry.name: entry
        for entry in entry_points(group=GROUP)
        if _NAME.fullmatch(entry.name) and entry.name not in {*shipped, *_RESERVED}
    }


def _told(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message.splitlines()[0] if message else ''}"
