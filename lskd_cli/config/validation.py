"""Validation of presets: all problems at once, each with the nearest valid key."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lskd_cli.config.methods.base import MethodConfig
from lskd_cli.config.methods.builtin import NO_METHOD
from lskd_cli.config.methods.registry import ALLOW_UNKNOWN, method_config, method_names
from lskd_cli.config.schema import Preset
from lskd_cli.errors import RequestError
from lskd_cli.io.printable import short_repr


def validate(
    raw: Mapping[str, Any],
    source: str,
    options: Mapping[str, str],
    allow_unknown_method: bool = False,
) -> Preset:
    """Validate a mapping as a preset.

    Args:
        raw: keys and values as in a YAML file.
        source: origin of the mapping, for error messages.
        options: for each dotted key that the command line changed, the option that the user typed;
            problems of these keys are reported under the option.
        allow_unknown_method: do not import the module of the method.

    Raises:
        RequestError: one line for each invalid key or value.
    """
    try:
        return Preset.model_validate(raw, context=ALLOW_UNKNOWN if allow_unknown_method else None)
    except ValidationError as error:
        details = error.errors(include_url=False)
        lines = [_line(detail, raw, source, options) for detail in details]
        raise RequestError("\n".join(lines)) from None


def _line(
    detail: ErrorDetails, raw: Mapping[str, Any], source: str, options: Mapping[str, str]
) -> str:
    key, problem = _dotted_key(detail), _problem(detail, raw)
    if detail["type"] == "value_error":
        # Messages of our own validators start with the key within their part of the preset.
        name, _, problem = problem.partition(": ")
        key = f"{key}.{name}" if key else name
    origin = options.get(key, f"{source}: {key}" if key else source)
    return f"{origin}: {problem}"


def _dotted_key(detail: ErrorDetails) -> str:
    location = [str(part) for part in detail["loc"]]
    if detail["type"] == "unknown_method":
        location.append("name")
    return ".".join(location)


def _problem(detail: ErrorDetails, raw: Mapping[str, Any]) -> str:
    key, error_type = _dotted_key(detail), detail["type"]
    if error_type == "extra_forbidden":
        keys = _valid_keys(raw)
        last = key.rpartition(".")[2]
        near = [valid for valid in keys if valid.rpartition(".")[2] == last]
        near = near or get_close_matches(key, keys, n=1, cutoff=0.6)
        return f"unknown key; nearest: {near[0] if near else ', '.join(_siblings(key, keys))}"
    if error_type == "missing":
        return "missing"
    if error_type == "unknown_method":
        names = ", ".join([NO_METHOD, *method_names()])
        return f"not a method; choose one of {names}, or load your own with --method-file"
    if error_type == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    text = detail["msg"].removeprefix("Input ")
    return f"{text}, not {short_repr(detail['input'])}"


def _valid_keys(raw: Mapping[str, Any]) -> list[str]:
    """All dotted keys of a preset with this method."""
    method = raw.get("method")
    config = method_config(method.get("name")) if isinstance(method, Mapping) else None
    keys = []
    for field, info in Preset.model_fields.items():
        models = _models_in(info.annotation)
        if field == "method":
            models = [config or MethodConfig]
        keys += [f"{field}.{key}" for model in models for key in _model_keys(model)] or [field]
    return keys + [field for field in Preset.model_fields if field not in keys]


def _model_keys(model: type[BaseModel]) -> list[str]:
    """Dotted keys of a model, including those of nested models."""
    keys = []
    for field, info in model.model_fields.items():
        nested = [key for part in _models_in(info.annotation) for key in _model_keys(part)]
        keys += [f"{field}.{key}" for key in nested] or [field]
    return keys


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    candidates = get_args(annotation) or (annotation,)
    return [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]


def _siblings(key: str, keys: list[str]) -> list[str]:
    group = key.rpartition(".")[0]
    return [valid for valid in keys if valid.rpartition(".")[0] == group] or sorted(
        {valid.partition(".")[0] for valid in keys}
    )
