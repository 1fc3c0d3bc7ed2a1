"""Registry of distillation methods: built-in ones, and those of plug-ins.

A method is a Python module that calls ``lskd_cli.distillers.register`` when it is imported. Three
kinds of modules are known: ``lskd_cli.distillers.NAME`` of a built-in method, a user's file
(``--method-file``), and a module that an installed package names as an entry point in the group
``lskd.methods``. Built-in modules and packages are imported when a preset names their method.
"""

import importlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo
from pydantic_core import PydanticCustomError

from lskd_cli.config.entry_point import load_entry_point
from lskd_cli.config.methods.base import MethodConfig, UnknownMethod
from lskd_cli.config.methods.builtin import (
    NO_METHOD,
    builtin_methods,
    builtin_module,
    builtin_title,
)
from lskd_cli.config.plugin_errors import plugin_files
from lskd_cli.errors import RequestError

ENTRY_POINT_GROUP = "lskd.methods"
ALLOW_UNKNOWN = "allow unknown method"  # validation context for presets of finished runs
_NAME = re.compile("[a-z][a-z0-9_]*")
# Names that already have a meaning in metrics or in names of presets.
_RESERVED = ("ce", "loss", "top1", "teacher", "alone")

_configs: dict[str, type[MethodConfig]] = {}
_plugin_defaults: dict[str, dict[str, Any]] = {}  # like a file of presets/methods


def register_method(
    config: type[MethodConfig], stand: Mapping[str, float] | None, file: Path, builtin: bool
) -> None:
    """Let presets name a method; registering a plug-in again replaces it.

    Args:
        config: its hyper-parameters; ``name`` is a literal. Those of a plug-in have defaults.
        stand: base temperature, kd_weight and all other hyper-parameters that standardization
            changes; None if the method has no standardized form, or if it is built in.
        file: the file that defines the method, for error messages.
        builtin: whether the method is part of lskd.

    Raises:
        RequestError: the name is invalid or taken, a hyper-parameter has no default, or ``stand``
            does not fit the method.
    """
    name = config.method_name()
    if not builtin:
        _check_plugin(config, stand)
        plugin_files.add(file.resolve())
        defaults: dict[str, Any] = {"method": {"name": name}}
        _plugin_defaults[name] = defaults | ({"stand": dict(stand)} if stand else {})
    _configs[name] = config


def _check_plugin(config: type[MethodConfig], stand: Mapping[str, float] | None) -> None:
    name = config.method_name()
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"method {name!r}: a name consists of lower-case letters, digits and underscores"
        )
    if name in _RESERVED or name == NO_METHOD or name in builtin_methods():
        raise RequestError(f"method {name}: this name is taken; choose another one")
    required = [key for key, field in config.model_fields.items() if field.is_required()]
    if required not in ([], ["name"]):
        raise RequestError(f"method {name}: {', '.join(required)}: a default value is missing")
    if stand is None:
        return
    for key in ("temperature", "kd_weight"):
        if not (key in stand and key in config.model_fields):
            raise RequestError(
                f"method {name}: a standardized form needs {key}, both as a hyper-parameter and in "
                "stand"
            )
    for key in stand:
        if key not in config.model_fields:
            raise RequestError(f"method {name}: stand: {key} is not a hyper-parameter of {name}")


def method_config(name: object) -> type[MethodConfig] | None:
    """Hyper-parameters class of a method; imports its module if necessary.

    Returns:
        None if there is no method of this name.

    Raises:
        RequestError: the package that defines the method fails, or does not define it.
    """
    if not isinstance(name, str):
        return None
    if name not in _configs:
        if name == NO_METHOD or name in builtin_methods():
            importlib.import_module(f"lskd_cli.distillers.{builtin_module(name)}")
        elif name in _entry_points():
            load_entry_point("method", _entry_points()[name], _configs)
    return _configs.get(name)


def plugin_defaults(name: str) -> dict[str, Any] | None:
    """Content of a plug-in method in the form of ``presets/methods/NAME.yaml``.

    Returns:
        None if there is no plug-in of this name.

    Raises:
        RequestError: the package that defines the method fails, or does not define it.
    """
    if name in _entry_points():
        method_config(name)
    return _plugin_defaults.get(name)


def plugin_names() -> list[str]:
    """Methods of plug-ins: loaded files and installed packages."""
    return sorted({*_plugin_defaults, *_entry_points()})


def method_names() -> list[str]:
    """All methods: built-in ones in the order of their publication, then plug-ins."""
    return [*builtin_methods(), *plugin_names()]


def loaded_methods() -> dict[str, type[MethodConfig]]:
    """The methods whose modules have been imported so far."""
    return dict(_configs)


def method_title(method: MethodConfig) -> str:
    """Label of a method in tables and figures, for example ``KD`` or ``AT+KD``."""
    title = builtin_title(method.name) or type(method).title or method.name
    kd_weight = getattr(method, "kd_weight", 0.0)
    return f"{title}+KD" if is_feature_method(method) and kd_weight > 0 else title


def is_feature_method(method: MethodConfig) -> bool:
    """Whether a method is a feature method; also for a method whose module is not imported."""
    return hasattr(method, "feature_weight")


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Entry points by method name, without those whose name is invalid or taken."""
    taken = {*builtin_methods(), NO_METHOD, *_RESERVED}
    return {
        entry.name: entry
        for entry in entry_points(group=ENTRY_POINT_GROUP)
        if _NAME.fullmatch(entry.name) and entry.name not in taken
    }


def _select_method(value: Any, info: ValidationInfo) -> Any:
    """Validate hyper-parameters with the class that their ``name`` selects."""
    if not isinstance(value, Mapping):
        return value
    name = value.get("name")
    if info.context == ALLOW_UNKNOWN and isinstance(name, str) and name not in _configs:
        return UnknownMethod.model_validate(value)
    config = method_config(name)
    if config is None:
        raise PydanticCustomError("unknown_method", "not a method")
    return config.model_validate(value)


Method = Annotated[SerializeAsAny[MethodConfig], BeforeValidator(_select_method)]
