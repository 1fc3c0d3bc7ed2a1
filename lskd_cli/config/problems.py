"""Validation whose messages name each wrong key and the nearest right one, all at once."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lskd_cli.config import shipped  # noqa: F401 (fills METHODS)
from lskd_cli.config.method import FOREIGN, METHODS
from lskd_cli.config.schema import Preset
from lskd_cli.errors import RequestError


def validate(
    raw: Mapping[str, Any], source: str, changed: Collection[str] = (), foreign: bool = False
) -> Preset:
    """The preset in a raw mapping.

    Args:
        raw: keys and values as a YAML file gives them.
        source: where they come from, for messages.
        changed: dotted keys that --set gave: their problems are named after it.
        foreign: take a method that is not known here.

    Raises:
        RequestError: one line for each wrong key or value.
    """
    try:
        return Preset.model_validate(raw, context=FOREIGN if foreign else None)
    except ValidationError as error:
        lines = []
        for detail in error.errors(include_url=False):
            key = _dotted(detail)
            if detail["type"] == "value_error" and key:
                # A part's own checks start with the name of the key.
                lines.append(f"{source}: {key}.{_problem(detail, key, raw)}")
                continue
            origin = f"--set {key}" if key in changed else f"{source}: {key}" if key else source
            lines.append(f"{origin}: {_problem(detail, key, raw)}")
        raise RequestError("\n".join(lines)) from None


def _dotted(detail: ErrorDetails) -> str:
    location = [str(part) for part in detail["loc"]]
    if detail["type"] == "unknown_method":
        location.append("name")
    return ".".join(location)


def _problem(detail: ErrorDetails, key: str, raw: Mapping[str, Any]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        keys = _known_keys(raw)
        last = key.rpartition(".")[2]
        near = [known for known in keys if known.rpartition(".")[2] == last]
        near = near or get_close_matches(key, keys, n=1, cutoff=0.6)
        return f"unknown key; nearest: {near[0] if near else ', '.join(_siblings(key, keys))}"
    if kind == "missing":
        return "missing"
    if kind == "unknown_method":
        return f"not a method; one of {', '.join(METHODS)}, or one that --method-file brings"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    text = detail["msg"].removeprefix("Input ")
    return f"{text}, not {detail['input']!r}"


def _known_keys(raw: Mapping[str, Any]) -> list[str]:
    """Every dotted key that a preset with this method may have."""
    method = raw.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    chosen = METHODS.get(name) if isinstance(name, str) else None
    keys = []
    for field, info in Preset.model_fields.items():
        nested = [m for m in _models_in(info.annotation) if m not in METHODS.values()]
        if field == "method":
            nested = [chosen] if chosen else list(METHODS.values())
        keys += [f"{field}.{key}" for model in nested for key in _keys(model)] or [field]
    return keys + [field for field in Preset.model_fields if field not in keys]


def _keys(model: type[BaseModel]) -> list[str]:
    """Dotted keys of a part, those of its own parts too."""
    keys = []
    for field, info in model.model_fields.items():
        nested = [key for part in _models_in(info.annotation) for key in _keys(part)]
        keys += [f"{field}.{key}" for key in nested] or [field]
    return keys


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    candidates = get_args(annotation) or (annotation,)
    return [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]


def _siblings(key: str, keys: list[str]) -> list[str]:
    group = key.rpartition(".")[0]
    return [known for known in keys if known.rpartition(".")[0] == group] or sorted(
        {known.partition(".")[0] for known in keys}
    )
